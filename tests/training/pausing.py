"""Runs tfvae.train and pauses in it, at moments that a test chooses: python pausing.py FUNCTION=NUMBER … -- FLAGS

It pauses when the function, `module:name` or `module:Class.name`, is entered for the NUMBER-th time: it prints
"paused", and goes on when it reads a line, or the end, of its standard input. Meanwhile it prints each "signal NUMBER"
that its handler has been told of.
"""

import functools
import importlib
import os
import select
import signal
import sys

from tfvae import train


def wait_for_a_line():
    reading_end, writing_end = os.pipe()
    os.set_blocking(writing_end, False)
    before = signal.set_wakeup_fd(writing_end)
    print("paused", flush=True)
    goes_on = False
    while not goes_on:
        readable, _, _ = select.select([sys.stdin, reading_end], [], [])
        if reading_end in readable:
            for number in os.read(reading_end, 99):
                print(f"signal {number}", flush=True)
        if sys.stdin in readable:
            sys.stdin.readline()
            goes_on = True
    signal.set_wakeup_fd(before)


class Pause:
    """A function that pauses once and then does what it did before."""

    def __init__(self, function, number):
        module, _, path = function.partition(":")
        owner, _, self.name = path.rpartition(".")
        self.owner = importlib.import_module(module)
        if owner:
            self.owner = getattr(self.owner, owner)
        self.function, self.before = getattr(self.owner, self.name), number - 1

    def install(self):
        @functools.wraps(self.function)
        def paused(*args, **options):
            self.before -= 1
            if self.before == -1:
                wait_for_a_line()
            return self.function(*args, **options)

        setattr(self.owner, self.name, paused)


def with_pauses(real, moments):
    """`tfvae.run.train`, which imports TensorFlow only in the process that trains: a guardian is forked before."""

    def train_with_pauses(*args, **options):
        from tfvae.runtime.tensorflow import import_tensorflow

        import_tensorflow()
        for moment in moments:
            function, _, number = moment.partition("=")
            Pause(function, int(number)).install()
        return real(*args, **options)

    return train_with_pauses


if __name__ == "__main__":
    cut = sys.argv.index("--")
    train.train = with_pauses(train.train, sys.argv[1:cut])
    train.run(sys.argv[cut + 1 :])
