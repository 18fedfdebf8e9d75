"""Serves exported models over TensorFlow Serving's REST API: python -m tfvae.serve saved_models/NAME --port=8501

The models NAME and, if it lies beside it, NAME-encoder: the newest version of each that loads, followed as new ones
appear, without a request lost. For where there is no docker: docs/serving.md.
"""

import asyncio
import html
import os
import re
import socket
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from tfvae.errors import InputError, RunError
from tfvae.flags import run_command
from None import COMMAND_FIELDS

FLAGS = ("host", "port", "max_body_mb", "max_rows", "max_concurrency", "timeout", "poll_seconds")
_PREDICT = re.compile(
    r"/v1/models/([^/:]+)(?:/versions/([0-9]+)|/labels/([^/:]+))?:(classify|regress|predict)", re.I | re.A
)
_STATUS = re.compile(r"/v1/models(?:/([^/:]+))?(?:/versions/([0-9]+)|/labels/([^/:]+))?(?:/(metadata))?", re.I | re.A)
_HEAD, _REFUSED = 2**18, 2**26  # bytes that are taken of a request's head, and of a body that is refused
_NO_EXPLORER = """<!doctype html><title>{name}</title><h1>{name}</h1>
<p>There is no explorer yet: <code>python -m tfvae.export --run_dir=runs/{name} --explorer</code> makes one.
<p>The model's <a href="/v1/models/{link}">versions</a> and <a href="/v1/models/{link}/metadata">signatures</a>."""


def _application(api: Any, base: Path, max_body: int, max_concurrency: int, timeout: float, pool: Any) -> Any:
    import orjson
    from fastapi import FastAPI, Response

    from tfvae.serving.contract import Refused

    app, running = FastAPI(openapi_url=None), 0

    async def read(scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]]) -> bytes:
        chunks, size, more = [], 0, True
        lengths = [int(value) for name, value in scope["headers"] if name == b"content-length"]
        while more and max(size, *lengths, 0) <= max_body:
            message = await receive()
            chunks.append(message.get("body", b""))
            size, more = size + len(chunks[-1]), message.get("more_body", False)
            if message["type"] == "http.disconnect":
                raise Refused(499, "the client has gone")
        if more:
            raise Refused(413, f"the body must be at most {max_body} bytes, see --max_body_mb")
        return b"".join(chunks)

    async def predict(scope: dict[str, Any], receive: Any, name: str, version: int | None) -> bytes:
        nonlocal running
        if running >= max_concurrency:
            raise Refused(503, f"{running} requests are being answered already, see --max_concurrency")
        running += 1
        try:
            async with asyncio.timeout(timeout):
                body = await read(scope, receive)
            return await asyncio.get_running_loop().run_in_executor(pool, api.predict, name, version, body)
        except TimeoutError:
            raise Refused(408, f"the body did not arrive in {timeout:g} s, see --timeout") from None
        finally:
            running -= 1

    async def answer(scope: dict[str, Any], receive: Any) -> bytes:
        path, method = scope["raw_path"].partition(b"?")[0].decode("latin-1"), scope["method"]
        match = {"POST": _PREDICT, "GET": _STATUS}[method].fullmatch(path) if method in ("GET", "POST") else None
        if not match:
            if not path.lower().startswith("/v1/"):
                raise Refused(404, "Not Found")
            raise Refused(400, f"Malformed request: {method} {path}")
        name, version, label, what = match.groups()
        if not name:
            raise Refused(400, "Missing model name in request.")
        name, version = unquote(name), int(version) if version else None
        if version is not None and version >= 2**63:
            raise Refused(400, f"Failed to convert version: {version} to numeric.")
        if label:
            raise Refused(400, f"Unrecognized servable version label: {unquote(label)}")
        if method == "GET":
            return orjson.dumps((api.metadata if what else api.status)(name, version))
        if what.lower() != "predict":
            raise Refused(400, f"Expected {what.lower()} signature: these are for predict alone")
        return await predict(scope, receive, name, version)

    async def contract(scope: dict[str, Any], receive: Any, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        status = 200
        try:
            body = await answer(scope, receive)
        except Refused as error:
            status, body = error.status, orjson.dumps({"error": str(error)})
        except Exception:
            traceback.print_exc()
            status, body = 500, b'{"error":"an error of the server\'s own, which it has logged"}'
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    missing = _NO_EXPLORER.format(name=html.escape(base.name), link=quote(base.name))

    @app.get("/")
    def explorer() -> Response:
        page = base / "explorer.html"
        text = page.read_bytes() if page.is_file() else missing
        return Response(text, media_type="text/html")

    app.mount("", contract)
    return app


def _protocol(parent: type, timeout: float) -> type:
    """uvicorn's protocol, with an end to clients that send no whole head of a request, or don't take the answer."""

    class Protocol(parent):
        head = answer = None
        size = 0

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self.head = self.loop.call_later(timeout, self.transport.abort)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self.head, self.size = self.head and self.head.cancel(), 0
                return
            self.size += len(data)
            discarded = self.cycle is not None and self.cycle.more_body  # the rest of a body that was refused
            if self.size > (_REFUSED if discarded else _HEAD):
                self.transport.abort()
            elif self.head is None:
                self.head = self.loop.call_later(timeout, self.transport.abort)

        def pause_writing(self) -> None:
            super().pause_writing()
            self.answer = self.loop.call_later(timeout, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self.answer = self.answer and self.answer.cancel()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            for timer in (self.head, self.answer):
                if timer:
                    timer.cancel()

    return Protocol


def serve(base: Path, host: str, port: int, max_body_mb: float, max_rows: int, max_concurrency: int, timeout: float,
          poll_seconds: float) -> None:  # fmt: skip
    """Serves until a signal, which ends it once the requests that run are answered.

    Raises:
        InputError: a package is missing, or `base` is no directory of versions.
        RunError: no version loads.
        OSError: it can't listen there.
    """
    try:
        import orjson  # noqa: F401
        import uvicorn
        from fastapi import FastAPI  # noqa: F401
        from uvicorn.protocols.http.auto import AutoHTTPProtocol
    except ImportError:
        raise InputError("must have fastapi, uvicorn and orjson: pip install 'tfvae[serve]'") from None
    from tfvae.serving.registry import Api, Model

    if not any(p.parent.name.isdigit() for p in base.glob("*/saved_model.pb")):
        raise InputError(f"{base}: must be a directory of exported versions, such as saved_models/NAME")
    base = base.resolve()
    models = [Model(base), Model(base.with_name(f"{base.name}-encoder"))]
    for model in models:
        model.poll()
    if models[0].serving is None:
        raise RunError(f"{base}: no version loads")
    stopped = threading.Event()

    def watch() -> None:
        while not stopped.wait(poll_seconds):
            for model in models:
                model.poll()

    threading.Thread(target=watch, daemon=True).start()
    listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio does so only for sockets of its own
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        app = _application(Api(models, max_rows), base, int(max_body_mb * 2**20), max_concurrency, timeout, pool)
        server = uvicorn.Server(uvicorn.Config(
            app, http=_protocol(AutoHTTPProtocol, timeout), ws="none", lifespan="off", log_config=None,
            access_log=False, server_header=False, limit_concurrency=max_concurrency + 512,
            timeout_keep_alive=int(timeout) + 1, timeout_graceful_shutdown=int(timeout) + 1,
        ))  # fmt: skip
        address = f"[{host}]" if ":" in host else host
        print(f"tfvae.serve: http://{address}:{listening.getsockname()[1]}/v1/models/{base.name}", flush=True)
        server.run(sockets=[listening])
        stopped.set()


def main(given: dict[str, Any], base: str) -> None:
    if not base:
        raise InputError("must be given a directory first: python -m tfvae.serve saved_models/NAME")
    serve(Path(base).expanduser(), **{name: given.get(name, COMMAND_FIELDS[name].default) for name in FLAGS})


if __name__ == "__main__":
    first = sys.argv.pop(1) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else ""
    run(lambda given: main(given, first), "tfvae.serve", __doc__, FLAGS)
