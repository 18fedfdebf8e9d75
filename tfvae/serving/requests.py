"""A request before it is understood: its body, and the host that it is meant for."""

import asyncio
import contextlib
import re
import zlib
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

import orjson

from tfvae.serving.contract import Refused

DISCARDED_BYTES = 2**26  # that are read of a body which is refused

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]]*))(?::[0-9]*)?")  # an IPv6 address in brackets, or another name
_MOST_QUOTED = 100  # characters of a host that a message repeats


class Body:
    """The body of a request, read once.

    A client that is still sending looks for no answer, and where the connection is closed then, it sees none: what
    nobody has read is thrown away before the answer.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        headers = dict(scope["headers"])
        self.receive = receive
        self.declared = int(headers.get(b"content-length", 0))
        self.is_gzip = b"gzip" in headers.get(b"content-encoding", b"").lower()
        self.has_more = self.declared > 0 or b"transfer-encoding" in headers
        self.is_announced = b"100-continue" in headers.get(b"expect", b"").lower()  # not sent unless it is asked for
        self.size = 0  # of what was read

    async def read(self, limit: int) -> bytes:
        """All of it; raises Refused as soon as it is, or says that it is, larger than `limit` bytes."""
        parts = []
        while self.has_more and max(self.size, self.declared) <= limit:
            parts.append(await self._next_part())
        if max(self.size, self.declared) > limit:
            raise too_large(limit)
        return b"".join(parts)

    async def discard(self, timeout: float) -> None:
        """Reads the rest, for so many seconds and DISCARDED_BYTES at most."""
        if self.declared > DISCARDED_BYTES or (self.is_announced and self.size == 0):
            return
        with contextlib.suppress(TimeoutError, Refused):
            async with asyncio.timeout(timeout):
                while self.has_more and self.size <= DISCARDED_BYTES:
                    await self._next_part()

    async def _next_part(self) -> bytes:
        message = await self.receive()
        if message["type"] == "http.disconnect":
            self.has_more = False
            raise Refused(499, "the client has gone")
        part = message.get("body", b"")
        self.size += len(part)
        self.has_more = message.get("more_body", False)
        return part


def too_large(limit: int) -> Refused:
    """What to raise for a body of more bytes than that."""
    return Refused(413, f"the body must be at most {limit} bytes, see --max_body_mb")


def uncompressed(content: bytes, limit: int) -> bytes:
    """What a gzip body holds, `limit` bytes at most: a small one may hold a thousand times its size.

    Raises:
        Refused: it holds more, or is not one whole gzip stream.
    """
    stream = zlib.decompressobj(wbits=31)  # gzip's header and checksum
    try:
        result = stream.decompress(content, limit + 1)
    except zlib.error:
        raise _no_gzip() from None
    if len(result) > limit:
        raise too_large(limit)
    if not stream.eof or stream.unused_data:
        raise _no_gzip()
    return result


def _no_gzip() -> Refused:
    return Refused(400, "the body must be one whole gzip stream, as its Content-Encoding says")


async def send_json(send: Send, status: int, content: bytes) -> None:
    """Sends a whole answer."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


class AllowedHosts:
    """Refuses requests that are meant for another host than `hosts`; None: for any. An ASGI middleware.

    A page of any site may give its own name this machine's address (DNS rebinding), and its visitors' browsers then
    let it read what listens on their loopback; but they name the site in `Host`. Starlette's middleware for it answers
    without saying what is allowed, and in older versions knows no IPv6.
    """

    def __init__(self, app: Any, hosts: Collection[str] | None, timeout: float) -> None:
        self.app, self.hosts, self.timeout = app, hosts, timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        others = [host for host in given if not self._is_allowed(host)]
        if not others:
            await self.app(scope, receive, send)
            return
        await Body(scope, receive).discard(self.timeout)
        reason = f"Host: {others[0][:_MOST_QUOTED]}: must be one of {', '.join(self.hosts or ())}, see --allowed_hosts"
        await send_json(send, 403, orjson.dumps({"error": reason}))

    def _is_allowed(self, host: str) -> bool:
        if self.hosts is None:
            return True
        match = _HOST.fullmatch(host.lower())
        return match is not None and (match[1] or match[2]) in self.hosts
