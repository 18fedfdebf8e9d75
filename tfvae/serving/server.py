"""The server: versions followed in a thread of their own, HTTP by uvicorn, predictions in a pool of threads."""

import asyncio
import ipaddress
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from tfvae.errors import InputError, RunError
from tfvae.runtime.files import numbered_directories
from tfvae.serving.app import Limits, make_app
from tfvae.serving.registry import RestApi, ServedModel
from tfvae.serving.requests import DISCARDED_BYTES

_HEAD_BYTES = 2**18  # that are taken of a request's head
_OWN_NAMES = ("localhost", "127.0.0.1", "::1")  # of any machine, for itself
_MORE_CONNECTIONS = 512  # than there may be predictions


def serve(
    base: Path,
    host: str,
    port: int,
    max_body_mb: float,
    max_rows: int,
    max_concurrency: int,
    timeout: float,
    poll_seconds: float,
    allowed_hosts: str | None = None,
) -> None:
    """Serves until a signal, which ends it once the requests that run are answered.

    Raises:
        InputError: `base` is no directory of versions.
        RunError: no version loads.
        OSError: it can't listen there.
    """
    versions = numbered_directories(base).values()
    if not any((version / "saved_model.pb").exists() for version in versions):
        raise InputError(f"{base}: must be a directory of exported versions, such as saved_models/NAME")
    base = base.resolve()
    models = _load(base)
    listening = _listen(host, port)
    limits = Limits(int(max_body_mb * 2**20), max_concurrency, timeout)
    watcher = VersionWatcher(models, poll_seconds)
    watcher.start()
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            hosts = allowed_names(host, listening.getsockname()[0], allowed_hosts)
            server = _uvicorn_server(make_app(RestApi(models, max_rows), base, limits, pool, hosts), limits)
            address = f"[{host}]" if ":" in host else host
            print(f"tfvae.serve: http://{address}:{listening.getsockname()[1]}/v1/models/{base.name}", flush=True)
            server.run(sockets=[listening])
    finally:
        watcher.stop()


def _load(base: Path) -> list[ServedModel]:
    """The decoder and, if it is there, its encoder."""
    models = [ServedModel(base), ServedModel(base.with_name(f"{base.name}-encoder"))]
    for model in models:
        model.poll()
    if models[0].serving is None:
        raise RunError(f"{base}: no version loads")
    return models


def allowed_names(host: str, address: str, allowed_hosts: str | None) -> list[str] | None:
    """The hosts of `requests.AllowedHosts`: this machine's names for itself where it listens on the loopback alone.

    `host` is what was asked for, `address` where it listens; `allowed_hosts` are names separated by commas that are
    given in addition, `*` is any.
    """
    if allowed_hosts is None and not ipaddress.ip_address(address).is_loopback:
        return None
    given = [name.strip().lower() for name in (allowed_hosts or "").split(",")]
    if "*" in given:
        return None
    return [name for name in dict.fromkeys([*_OWN_NAMES, host.lower(), address, *given]) if name]


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio does so only for sockets of its own
    return listening


def _uvicorn_server(app: FastAPI, limits: Limits) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        http=make_protocol(AutoHTTPProtocol, limits.timeout),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=limits.concurrency + _MORE_CONNECTIONS,
        timeout_keep_alive=int(limits.timeout) + 1,
        timeout_graceful_shutdown=int(limits.timeout) + 1,
    )
    return uvicorn.Server(config)


class VersionWatcher:
    """Looks for new versions of the models, every `seconds`, in a thread that ends with the process."""

    def __init__(self, models: list[ServedModel], seconds: float) -> None:
        self.models, self.seconds = models, seconds
        self.stopped = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self) -> None:
        while not self.stopped.wait(self.seconds):
            for model in self.models:
                model.poll()

    def stop(self) -> None:
        self.stopped.set()


def make_protocol(parent: type[asyncio.Protocol], timeout: float) -> type[asyncio.Protocol]:
    """uvicorn's protocol, with an end to clients that send no whole head of a request, or don't take the answer.

    It is made here because uvicorn chooses its own class, the parent, when it starts: by the parsers that are there.
    """

    class Protocol(parent):  # type: ignore[valid-type, misc]  # which class it is, uvicorn says when it starts
        head_timer: asyncio.TimerHandle | None = None
        answer_timer: asyncio.TimerHandle | None = None
        bytes_received = 0  # since a request was last being answered

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self.head_timer = self.loop.call_later(timeout, self.transport.abort)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self.cancel_head_timer()
                self.bytes_received = 0
                return
            self.bytes_received += len(data)
            is_rest_of_refused_body = self.cycle is not None and self.cycle.more_body
            if self.bytes_received > (DISCARDED_BYTES if is_rest_of_refused_body else _HEAD_BYTES):
                self.transport.abort()
            elif self.head_timer is None:
                self.head_timer = self.loop.call_later(timeout, self.transport.abort)

        def pause_writing(self) -> None:
            super().pause_writing()
            self.answer_timer = self.loop.call_later(timeout, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self.cancel_answer_timer()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self.cancel_head_timer()
            self.cancel_answer_timer()

        def cancel_head_timer(self) -> None:
            if self.head_timer:
                self.head_timer.cancel()
                self.head_timer = None

        def cancel_answer_timer(self) -> None:
            if self.answer_timer:
                self.answer_timer.cancel()
                self.answer_timer = None

    return Protocol
