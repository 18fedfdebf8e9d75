"""tfvae.serve in a process of its own, and clients that send bytes as they are; on the loopback alone."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from serving_contract import PREDICT, request

ROOT = Path(__file__).parents[2]
ONE = {"instances": [[1, 2]]}


@contextlib.contextmanager
def served(base, *flags):
    """(the server's URL, its process)"""
    command = [sys.executable, "-m", "tfvae.serve", str(base), "--port=0", "--poll_seconds=0.1", *flags]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            if "http://" in line:
                break
        yield line.split()[-1].partition("/v1")[0], process
    finally:
        process.kill()
        process.communicate()


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def states(url):
    return {s["version"]: s["state"] for s in request(url, "/v1/models/vae")[1]["model_version_status"]}


def connect(url):
    return socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=30)


def raw(url, *parts):
    """What a server answers to these bytes, until it hangs up."""
    answer = b""
    with connect(url) as client, contextlib.suppress(ConnectionError):
        for part in parts:
            client.sendall(part)
        with contextlib.suppress(ConnectionError):
            while chunk := client.recv(65536):
                answer += chunk
    return answer


def head(length, path=PREDICT):
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n".encode()


def resident_mb(process):
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
