"""`InputError`: one mistake, in the words of the command line and in Python's."""

import pickle

import pytest

from tfvae.errors import InputError


@pytest.mark.parametrize(
    ("message", "in_python"),
    [
        ("--latent_dim=0: must be 1", "latent_dim=0: must be 1"),
        ("--run_dir: must be given", "run_dir: must be given"),
        ("must be one of --a=b, --c_d, (--e) or --f; --g.", "must be one of a=b, c_d, (e) or f; g."),
        ("--memory_gb=-1: must be above -2", "memory_gb=-1: must be above -2"),
        ("--dataset=/a--b=c/--d=e.npy: must be here", "dataset=/a--b=c/--d=e.npy: must be here"),
        ("a -- b: pip install 'tfvae[onnx]', up-to-date", "a -- b: pip install 'tfvae[onnx]', up-to-date"),
        ("runs/a/config.flags: --beta=x: must be y", "runs/a/config.flags: beta=x: must be y"),
    ],
)
def test_python_is_shown_arguments_in_the_place_of_flags(message, in_python):
    error = InputError(message)
    assert str(error) == in_python
    assert error.for_command_line == message


def test_a_text_for_python_is_shown_as_it_is():
    error = InputError("--epochs=auto: must not be", "no reason", in_python="epochs=None: must not be --epochs=None")
    assert str(error) == "epochs=None: must not be --epochs=None"
    assert error.for_command_line == "--epochs=auto: must not be"
    assert error.reason == "no reason"


def test_another_process_gets_both_texts():
    error = pickle.loads(pickle.dumps(InputError("--epochs=auto: must not be", in_python="epochs=None: must not be")))
    assert str(error) == "epochs=None: must not be"
    assert error.for_command_line == "--epochs=auto: must not be"
