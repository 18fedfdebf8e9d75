"""Compiled programs, kept on disk for the next process: half of the time to the first step is XLA's compiling.

TensorFlow fails on a damaged file there instead of compiling anew, so a file counts only with the checksum that the
process which wrote it leaves at its end.
"""

import atexit
import importlib.metadata
import os
import platform
import shutil
import time
import zlib
from pathlib import Path

_MOST = 100  # programs, the newest, of a megabyte or so each
_LEAST_FREE = 2**30  # bytes


def keep() -> None:
    """Makes TensorFlow, not yet imported, load and save what it compiles in `$TFVAE_CACHE` or ~/.cache/tfvae.

    Where that can't be written or is nearly full, `TFVAE_CACHE` is empty, or TF_XLA_FLAGS names a directory, nothing
    happens.
    """
    root, given = os.environ.get("TFVAE_CACHE", "~/.cache/tfvae"), os.environ.get("TF_XLA_FLAGS", "")
    try:
        # XLA's own key knows nothing of these
        made_by = [importlib.metadata.version("tensorflow"), os.environ.get("XLA_FLAGS", ""), _processor()]
        folder = Path(root).expanduser() / f"{zlib.crc32('/'.join(made_by).encode()):08x}"
        flag = f"--tf_xla_persistent_cache_directory={folder}"
        if not root or ("persistent_cache" in given and flag not in given):
            return
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(folder, os.W_OK) or folder.stat().st_uid != os.getuid():  # it is code that will be run
            return
        if shutil.disk_usage(folder).free < _LEAST_FREE:  # a full disk would end the run
            return
        programs = sorted(folder.glob("*.pb"), key=lambda p: p.stat().st_mtime, reverse=True)
        for i, path in enumerate(programs):
            if i >= _MOST or not _is_whole(path):
                path.unlink(missing_ok=True)
                _checksum(path).unlink(missing_ok=True)
        for path in folder.glob("*.tmp"):  # of killed processes
            if path.stat().st_mtime < time.time() - 3_600:
                path.unlink(missing_ok=True)
    except (OSError, RuntimeError, importlib.metadata.PackageNotFoundError):  # no home; another name of TensorFlow's
        return
    if flag not in given:  # by a parent process
        os.environ["TF_XLA_FLAGS"] = f"{given} {flag}".strip()
    atexit.register(_sign, folder, set(folder.glob("*.pb")))


def _sign(folder: Path, before: set[Path]) -> None:
    """Leaves checksums of the programs that came since."""
    try:
        for path in set(folder.glob("*.pb")) - before:
            _checksum(path).write_text(f"{zlib.crc32(path.read_bytes()):08x}")
    except OSError:
        pass


def _is_whole(path: Path) -> bool:
    try:
        return _checksum(path).read_text() == f"{zlib.crc32(path.read_bytes()):08x}"
    except OSError:
        return False


def _checksum(path: Path) -> Path:
    return path.with_suffix(".crc32")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return "".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))
    except OSError:
        return platform.processor()
