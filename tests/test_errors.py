"""`InputError`: one mistake, in the words of the command line and in Python's."""

import pickle

import pytest

from tfvae.errors import InputError, is_printable, listed


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


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("caf\udce9", r"caf\udce9"),  # the bytes caf\xe9
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("a\x1b[2Jb\x85c\u2028d", r"a\x1b[2Jb\x85c\u2028d"),
    ],
)
def test_a_name_that_would_break_the_line_is_shown_with_escapes(name, shown):
    error = InputError(f"--dataset={name}: must be here")
    assert (
        error.for_command_line == f"--dataset={shown}: must be here" and str(error) == f"dataset={shown}: must be here"
    )
    assert not is_printable(name) and is_printable(shown)
    assert len(error.for_command_line.splitlines()) == 1 and error.for_command_line.encode()


@pytest.mark.parametrize(
    "name", ["café", "cafe\u0301", "\u06a9\u062a\u0627\u0628\u200c\u0647\u0627", "a b\xa0c", "\U0001f600"]
)
def test_a_name_of_any_script_is_shown_as_it_is(name):
    assert is_printable(name) and InputError(name).for_command_line == name


def test_of_many_names_a_message_has_ten():
    assert listed([]) == "" and listed(("ant", "bee")) == "ant, bee"
    assert listed([str(i) for i in range(10)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert listed([str(i) for i in range(1_511)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 1,501 more"
