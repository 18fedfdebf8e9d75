"""What all tests share."""

import os

os.environ.setdefault(
    "TF_CPP_MIN_LOG_LEVEL", "3"
)  # jax, where it is installed, sets 1, also for commands that tests run
