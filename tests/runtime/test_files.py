"""Files that are there whole or not at all, whatever ends the process that writes them; locks; what can be written."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tfvae.errors import InputError
from tfvae.runtime import files

ROOT = Path(__file__).parents[2]
KILLED = """
import os, signal, sys
from pathlib import Path
from tfvae.runtime import files

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

where, function, *paths = sys.argv[1:]
setattr({"os": os, "files": files}[where], function, die)
if len(paths) == 1:
    files.write_atomically(Path(paths[0]), "new" * 100_000)
else:
    files.move_into_place(Path(paths[0]), Path(paths[1]))
"""
HOLDER = """
import sys
from pathlib import Path
from tfvae.runtime.files import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""
REQUIRER = """
import os, sys
from tfvae.errors import InputError
from tfvae.runtime.files import require_writable
os.setuid(int(sys.argv[1]))
try:
    require_writable("run_dir", sys.argv[2])
    print("can be written")
except InputError as error:
    print(error)
"""


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def kill_at(where, function, *paths):
    """Runs `write_atomically` or `move_into_place` in a process that kill -9 ends where it would call `function`."""
    command = [sys.executable, "-c", KILLED, where, function, *map(str, paths)]
    assert subprocess.run(command, env=environment(), timeout=60).returncode == -9


def calls(monkeypatch):
    """Collects what is flushed, and what is renamed to what."""
    log, fsync, rename, replace = [], os.fsync, os.rename, os.replace

    def logged_fsync(descriptor):
        log.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def logged(function):
        def move(source, target):
            log.append((str(source), str(target)))
            function(source, target)

        return move

    monkeypatch.setattr(os, "fsync", logged_fsync)
    monkeypatch.setattr(os, "rename", logged(rename))
    monkeypatch.setattr(os, "replace", logged(replace))
    return log


@pytest.mark.parametrize("content", ["text, π\n", b"\0bytes\xff", ""])
def test_what_is_written_is_there(tmp_path, content):
    path = tmp_path / "file"
    files.write_atomically(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_is_on_disk_before_it_takes_its_name_and_the_name_is_after(tmp_path, monkeypatch):
    path, log = tmp_path / "file", calls(monkeypatch)
    files.write_atomically(path, "new")
    [aside, (source, target), folder] = log
    assert (aside, target, folder) == (source, str(path), str(tmp_path)) and source != target


@pytest.mark.parametrize(
    ("where", "function", "content"),
    [("os", "fsync", "old"), ("os", "replace", "old"), ("files", "sync_directory", "new" * 100_000)],
)
def test_a_kill_leaves_the_old_file_or_the_new_one_and_the_next_write_works(tmp_path, where, function, content):
    path = tmp_path / "file"
    path.write_text("old")
    kill_at(where, function, path)
    assert path.read_text() == content
    files.write_atomically(path, "newer")
    assert path.read_text() == "newer" and os.listdir(tmp_path) == ["file"]


def test_what_can_not_be_encoded_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        files.write_atomically(path, "new, and then \ud800")
    assert path.read_text() == "old"


def folder_of(path):
    (path / "below").mkdir(parents=True)
    (path / "below" / "a").write_text("A")
    (path / "b").write_text("B")
    return path


def content_of(path):
    return {str(p.relative_to(path)): p.read_text() for p in path.rglob("*") if p.is_file()}


def test_a_folder_s_files_are_on_disk_before_it_is_moved(tmp_path, monkeypatch):
    aside, final, log = folder_of(tmp_path / "aside"), tmp_path / "final", calls(monkeypatch)
    files.move_into_place(aside, final)
    assert log[-2:] == [(str(aside), str(final)), str(tmp_path)]
    assert set(log[:-2]) == {str(aside / name) for name in ("below", "below/a", "b")} | {str(aside)}
    assert content_of(final) == {"below/a": "A", "b": "B"} and not aside.exists()


@pytest.mark.parametrize("function", ["fsync", "rename"])
def test_a_kill_before_the_move_leaves_nothing_at_the_place(tmp_path, function):
    aside, final = folder_of(tmp_path / "aside"), tmp_path / "final"
    kill_at("os", function, aside, final)
    assert not final.exists() and content_of(aside) == {"below/a": "A", "b": "B"}


def test_a_folder_that_has_content_is_not_replaced(tmp_path):
    aside, final = folder_of(tmp_path / "aside"), tmp_path / "final"
    final.mkdir()
    (final / "c").write_text("C")
    with pytest.raises(OSError):
        files.move_into_place(aside, final)
    assert content_of(final) == {"c": "C"} and content_of(aside) == {"below/a": "A", "b": "B"}


def test_a_run_directory_is_made_and_is_one_process_s_until_that_ends(tmp_path):
    run_dir = tmp_path / "runs" / "a"
    command = [sys.executable, "-c", HOLDER, str(run_dir)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
    ) as holder:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(InputError, match=f"^run_dir={run_dir}: must not be in use, and another process"):
            with files.locked(run_dir):
                pass
        with files.locked(tmp_path / "runs" / "b"):
            pass
        holder.kill()
    with files.locked(run_dir):  # whatever ended the other
        with pytest.raises(InputError, match="must not be in use"):
            with files.locked(run_dir):
                pass
    with pytest.raises(KeyError):
        with files.locked(run_dir):
            raise KeyError
    with files.locked(run_dir):
        pass


def test_a_run_directory_that_can_not_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=f"^run_dir={tmp_path}/file/a: must be a directory that can be written: "):
        with files.locked(tmp_path / "file" / "a"):
            pass


def test_what_can_be_made_is_writable_and_is_not_made(tmp_path):
    os.utime(tmp_path, ns=(1, 1))
    for path in (tmp_path, tmp_path / "a", str(tmp_path / "a" / "b")):
        files.require_writable("run_dir", path, "c", "d")
    assert not any(tmp_path.iterdir()) and tmp_path.stat().st_mtime_ns == 1


@pytest.mark.parametrize(
    ("below", "reason"),
    [
        ("file", "file can't: it is no directory"),
        ("file/a/b", "file can't: it is no directory"),
        ("link/a", "link can't: it is no directory"),
        ("a" * 300, ": File name too long"),
    ],
    ids=["a file", "below a file", "below a link to nothing", "a long name"],
)
def test_what_can_not_be_a_directory_is_refused(tmp_path, below, reason):
    (tmp_path / "file").write_text("")
    (tmp_path / "file").chmod(0o755)
    (tmp_path / "link").symlink_to("nothing")
    with pytest.raises(InputError) as caught:
        files.require_writable("export_dir", tmp_path / below)
    message = str(caught.value)
    assert message.startswith(f"export_dir={tmp_path / below}: must be a directory that can be written")
    assert message.endswith(reason)


def test_where_root_can_make_nothing_is_refused():
    """os.access says of /proc that root may write there."""
    for path, place in (("/proc/nope", "/proc"), ("/proc/nope/a", "/proc"), ("/proc", "/proc")):
        with pytest.raises(InputError) as caught:
            files.require_writable("export_dir", path)
        assert str(caught.value).startswith(f"export_dir={path}: must be a directory that can be written, and {place}")


def test_a_directory_in_it_that_can_not_be_written_is_refused(tmp_path):
    (tmp_path / "figures").write_text("a file")
    files.require_writable("run_dir", tmp_path, "checkpoints")
    with pytest.raises(InputError) as caught:
        files.require_writable("run_dir", tmp_path, "checkpoints", "figures")
    problem = f"must be a directory that can be written, and {tmp_path / 'figures'} can't: it is no directory"
    assert str(caught.value) == f"run_dir={tmp_path}: {problem}"
    assert [path.name for path in tmp_path.iterdir()] == ["figures"]


def test_what_another_user_owns_is_refused():
    """Root may write everywhere: where the test is root's, the process becomes nobody's."""
    user = 65534 if os.getuid() == 0 else os.getuid()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "folder"
        folder.mkdir()
        for path, mode in ((Path(name), 0o755), (folder, 0o555)):
            path.chmod(mode)
        answers = []
        for below in ("", "/a", "/a/b"):
            command = [sys.executable, "-c", REQUIRER, str(user), f"{folder}{below}"]
            done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60)
            answers.append(done.stdout + done.stderr)
    problem = f"must be a directory that can be written, and {folder} can't: Permission denied\n"
    assert answers == [f"run_dir={folder}{below}: {problem}" for below in ("", "/a", "/a/b")]


@pytest.mark.parametrize("kind", ["nothing", "a file"])
def test_a_run_without_a_directory_of_checkpoints_is_refused(tmp_path, kind):
    if kind == "a file":
        (tmp_path / "checkpoints").write_text("")
    with pytest.raises(InputError) as caught:
        files.require_checkpoints(tmp_path)
    assert str(caught.value) == f"run_dir={tmp_path}: must be the directory of a run that has a checkpoint"
    (tmp_path / "checkpoints").unlink(missing_ok=True)
    (tmp_path / "checkpoints").mkdir()
    files.require_checkpoints(tmp_path)
