"""The command: what can't be served is told in one line."""

import signal
import socket
import subprocess
import sys

import pytest
from servers import ROOT

from tfvae import serve


@pytest.fixture
def run(capsys):
    """Runs the command in this process; returns its exit status and what it wrote on stderr."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            serve.run(list(arguments))
        return caught.value.code, capsys.readouterr().err

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        ([], 2, "must be given a directory first"),
        (["--port=0"], 2, "must be given a directory first"),
        (["{0}/none"], 2, "must be a directory of exported versions"),
        (["{0}/vae/7"], 2, "must be a directory of exported versions"),
        (["{0}/squared"], 2, "must be a directory of exported versions"),
        (["{0}/broken"], 1, "no version loads"),
        (["{0}/vae", "--port={1}"], 1, "Address already in use"),
        (["{0}/vae", "--max_rows=0"], 2, "must be a whole number"),
        (["{0}/vae", "fastapi"], 2, "arguments must be flags"),
    ],
)
def test_what_can_t_be_served_is_told_in_one_line(run, base, arguments, status, reason):
    for version in ("broken/1", "squared/²"):
        (base.parent / version).mkdir(parents=True, exist_ok=True)
        (base.parent / version / "saved_model.pb").write_bytes(b"")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        arguments = [argument.format(base.parent, taken.getsockname()[1]) for argument in arguments]
        code, error = run(*arguments)
    assert code == status, error
    last = error.splitlines()[-1]
    assert last.startswith("tfvae.serve: ") and reason in last and "Traceback" not in error


@pytest.mark.parametrize("package", ["fastapi", "uvicorn", "orjson"])
def test_a_missing_package_is_named(run, base, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    message = "tfvae.serve: must have fastapi, uvicorn and orjson: pip install 'tfvae[serve]'\n"
    assert run(str(base)) == (2, message)


def test_for_real():
    command = [sys.executable, "-m", "tfvae.serve", "--port=0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    message = "tfvae.serve: must be given a directory first: python -m tfvae.serve saved_models/NAME\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message)
