"""The failures that a command reports in one line, and the exit status of each."""


class InputError(ValueError):
    """A flag, argument, setting or input file that can't be used: exit status 2.

    `reason` is the reason alone, without the flag and its value, where another message quotes it.
    """

    status = 2

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class RunError(RuntimeError):
    """A failure after the start: exit status 1."""

    status = 1


class WorkerLost(RunError):
    """Another worker of the job is gone: all must be started again, and go on from the last checkpoint."""

    status = 75  # EX_TEMPFAIL: try again
