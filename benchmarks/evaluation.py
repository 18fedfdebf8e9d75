"""Importance-sampled log p(x) beside its floor: python benchmarks/evaluation.py, on an idle machine.

The decoder 50-200-200-784 of the IWAE paper's network. Evaluation and the decoder's bare matrix products take turns;
then the peak memory of a process that evaluates with S samples, each S in a process of its own. Writes its part of
docs/performance.md.
"""

import resource
import statistics
import subprocess
import sys
import time

import numpy as np
from page import machine, write

from tfvae.runtime.tensorflow import import_tensorflow

import_tensorflow()

import tensorflow as tf  # noqa: E402

from tfvae.config import Config  # noqa: E402
from tfvae.core.making import make_vae  # noqa: E402
from tfvae.training import block_plan, evaluation  # noqa: E402

SIZES, IMAGES, SAMPLES, ROUNDS = (50, 200, 200, 784), 512, 1_000, 7
ROWS = block_plan.TILE * block_plan.SAMPLES_AT_ONCE  # of a decoder's product
MEMORY_SAMPLES = (5, 50, 500, 5_000)


def make() -> tuple:
    config = Config(latent_dim=SIZES[0], hidden_units=SIZES[1:3], activation="tanh", binarize="threshold")
    vae = make_vae(config, (28, 28, 1))
    images = np.random.default_rng(0).integers(0, 2, (IMAGES, 28, 28, 1), dtype=np.uint8) * np.uint8(255)
    evaluate = evaluation.Evaluator(vae, config.latent_dim, config.seed).evaluate
    evaluate(images[:1], 1)  # compiles
    return evaluate, images


@tf.function
def products(count: tf.Tensor) -> list[tf.Tensor]:
    """The floor: the decoder's products, `count` times, by TensorFlow."""
    weights = [tf.random.normal(shape) for shape in zip(SIZES, SIZES[1:])]
    inputs = [tf.random.normal((ROWS, size)) for size in SIZES[:-1]]

    def made() -> list[tf.Tensor]:
        return [tf.matmul(x, w) for x, w in zip(inputs, weights)]

    loop = (tf.constant(0), *made())
    return tf.while_loop(lambda t, *_: t < count, lambda t, *_: (t + 1, *made()), loop, parallel_iterations=1)


def seconds(work: object, *arguments: object) -> float:
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def main() -> None:
    if len(sys.argv) > 1:
        evaluate, images = make()
        evaluate(images, int(sys.argv[1]))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
        return
    evaluate, images = make()
    count = tf.constant(IMAGES * SAMPLES // ROWS)
    floor = lambda: products(count)[0].numpy()  # noqa: E731
    floor()
    turns = [(seconds(evaluate, images, SAMPLES), seconds(floor)) for _ in range(ROUNDS)]
    ours, bare = (IMAGES * SAMPLES / statistics.median(column) for column in zip(*turns))
    ratios = [b / a for a, b in turns]
    lines = [
        f"Decoder {'-'.join(map(str, SIZES))}, {IMAGES} binary images, S = {SAMPLES:,}; {ROUNDS} rounds; {machine()}.",
        "",
        f"Importance-sampled log p(x): {ours:,.0f} images x samples a second; the decoder's bare products at the same "
        f"{ROWS:,} rows: {bare:,.0f}. Of the floor: {statistics.median(ratios):.0%} ({min(ratios):.0%} to "
        f"{max(ratios):.0%}).",
        "",
        "| samples | peak memory of the process, MB |",
        "| --- | --- |",
    ]
    for samples in MEMORY_SAMPLES:
        done = subprocess.run([sys.executable, __file__, str(samples)], check=True, capture_output=True, text=True)
        lines.append(f"| {samples:,} | {done.stdout.strip()} |")
    write("performance", "evaluation", "\n".join(lines))


if __name__ == "__main__":
    main()
