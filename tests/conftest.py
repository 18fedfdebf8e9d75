"""What all tests share."""

import os

os.environ.setdefault(
    "TF_CPP_MIN_LOG_LEVEL", "3"
)  # jax, where it is installed, sets 1, also for commands that tests run

import pytest  # noqa: E402

from tfvae.serving import verify  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def exports_are_checked_where_they_are_the_subject(request):
    """Elsewhere the two processes that check each export would take a minute of the suite's four."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.stem not in ("test_saved_model", "test_train"):
            patch.setattr(verify, "check", lambda _: "")
        yield
