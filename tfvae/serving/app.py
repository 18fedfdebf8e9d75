"""The REST API as an ASGI application: `/v1/models/…` by TensorFlow Serving's contract, and `/`, the run's explorer."""

import asyncio
import html
import re
import traceback
from collections.abc import Collection
from concurrent.futures import Executor
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

import orjson
from fastapi import FastAPI, Response

from tfvae.serving.contract import Refused
from tfvae.serving.registry import RestApi
from tfvae.serving.requests import AllowedHosts, Body, Receive, Scope, Send, send_json, uncompressed

_NUMBER_OR_LABEL = "(?:/versions/([0-9]+)|/labels/([^/:]+))?"
_PREDICT = re.compile(rf"/v1/models/([^/:]+){_NUMBER_OR_LABEL}:(classify|regress|predict)", re.IGNORECASE | re.ASCII)
_STATUS = re.compile(rf"/v1/models(?:/([^/:]+))?{_NUMBER_OR_LABEL}(?:/(metadata))?", re.IGNORECASE | re.ASCII)
_PATHS = {"POST": _PREDICT, "GET": _STATUS, "HEAD": _STATUS}  # the groups of both: name, version, label, method
_TOO_SLOW = 408
_NOT_SERVED = b'<meta name="served" content="">'  # in the explorer's page: it may ask the model there, to decode
_NO_EXPLORER = """<!doctype html><title>{name}</title><h1>{name}</h1>
<p>There is no explorer yet: <code>python -m tfvae.export --run_dir=runs/{name} --explorer</code> makes one.
<p>The model's <a href="/v1/models/{link}">versions</a> and <a href="/v1/models/{link}/metadata">signatures</a>."""


class Limits(NamedTuple):
    """What one request may cost."""

    body_bytes: int
    concurrency: int  # predictions at a time
    timeout: float  # seconds for a body to arrive


class Target(NamedTuple):
    """What a request's path names."""

    name: str
    version: int | None
    method: str  # predict, metadata or status


def parse_path(method: str, path: str) -> Target:
    """What a request is about; `path` is still percent-encoded.

    Raises:
        Refused: it is none of the contract's, or not served.
    """
    match = _PATHS[method].fullmatch(path) if method in _PATHS else None
    if not match:
        if not path.lower().startswith("/v1/"):
            raise Refused(404, "Not Found")
        raise Refused(400, f"Malformed request: {method} {path}")
    name, version, label, api_method = match.groups(default="")
    if not name:
        raise Refused(400, "Missing model name in request.")
    if version and int(version) >= 2**63:
        raise Refused(400, f"Failed to convert version: {int(version)} to numeric.")
    if label:
        raise Refused(400, f"Unrecognized servable version label: {unquote(label)}")
    api_method = api_method.lower() or "status"
    if api_method in ("classify", "regress"):
        raise Refused(400, f"Expected {api_method} signature: these are for predict alone")
    return Target(unquote(name), int(version) if version else None, api_method)


class Application:
    """The contract over HTTP, an ASGI application; predictions compute in the threads of `pool`."""

    def __init__(self, api: RestApi, limits: Limits, pool: Executor) -> None:
        self.api, self.limits, self.pool = api, limits, pool
        self.running = 0  # predictions; of the event loop's thread alone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = Body(scope, receive)
        status = 200
        try:
            content = await self.answer(scope, body)
        except Refused as error:
            status, content = error.status, orjson.dumps({"error": str(error)})
        except Exception:
            traceback.print_exc()
            status, content = 500, b'{"error":"an error of the server\'s own, which it has logged"}'
        if status != _TOO_SLOW:
            await body.discard(self.limits.timeout)
        await send_json(send, status, content)  # of which uvicorn keeps the head alone for HEAD

    async def answer(self, scope: Scope, body: Body) -> bytes:
        """The JSON that answers a request; raises Refused."""
        path = scope["raw_path"].partition(b"?")[0].decode("latin-1")
        target = parse_path(scope["method"], path)
        if target.method == "predict":
            return await self.predict(target, body)
        if target.method == "metadata":
            return orjson.dumps(self.api.metadata(target.name, target.version))
        return orjson.dumps(self.api.status(target.name, target.version))

    async def predict(self, target: Target, body: Body) -> bytes:
        """The JSON that answers a body; raises Refused, also where too many are being answered."""
        if self.running >= self.limits.concurrency:
            raise Refused(503, f"{self.running} requests are being answered already, see --max_concurrency")
        self.running += 1
        try:
            async with asyncio.timeout(self.limits.timeout):
                content = await body.read(self.limits.body_bytes)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self.pool, self.compute, target, content, body.is_gzip)
        except TimeoutError:
            seconds = f"{self.limits.timeout:g} s"
            raise Refused(_TOO_SLOW, f"the body did not arrive in {seconds}, see --timeout") from None
        finally:
            self.running -= 1

    def compute(self, target: Target, content: bytes, is_gzip: bool) -> bytes:
        """The JSON that answers a body's content; raises Refused."""
        if is_gzip:
            content = uncompressed(content, self.limits.body_bytes)
        return self.api.predict(target.name, target.version, content)


class ExplorerPage:
    """`<base>/explorer.html`, read for each request, or how to make one; the page is told where the model answers."""

    def __init__(self, base: Path) -> None:
        self.path = base / "explorer.html"
        address = html.escape(f"/v1/models/{quote(base.name, safe='')}:predict")
        self.served = f'<meta name="served" content="{address}">'.encode()
        self.placeholder = _NO_EXPLORER.format(name=html.escape(base.name), link=quote(base.name))

    def get(self) -> Response:
        if not self.path.is_file():
            return Response(self.placeholder, media_type="text/html")
        content = self.path.read_bytes().replace(_NOT_SERVED, self.served, 1)
        return Response(content, media_type="text/html")


async def healthz() -> Response:
    """What a load balancer asks for: it answers, so a version serves, for without one the server doesn't start."""
    return Response(b'{"status":"ok"}', media_type="application/json")


def make_app(api: RestApi, base: Path, limits: Limits, pool: Executor, hosts: Collection[str] | None = None) -> FastAPI:
    """`/` is the explorer's page, `/healthz` for load balancers; all else is the contract's. `hosts`: AllowedHosts."""
    app = FastAPI(openapi_url=None)
    app.add_middleware(AllowedHosts, hosts=hosts, timeout=limits.timeout)
    app.add_api_route("/", ExplorerPage(base).get, methods=["GET", "HEAD"])
    app.add_api_route("/healthz", healthz, methods=["GET", "HEAD"])
    app.mount("", Application(api, limits, pool))
    return app
