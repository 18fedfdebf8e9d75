"""A request's body, what is thrown away of it, and the hosts that it may be meant for; no sockets."""

import asyncio
import gzip

import pytest

from tfvae.serving import requests
from tfvae.serving.contract import Refused
from tfvae.serving.requests import AllowedHosts, Body, uncompressed
from tfvae.serving.server import allowed_names

CHUNKED = (b"transfer-encoding", b"chunked")


class Client:
    """Sends parts, and counts those that were taken; after the last it waits."""

    def __init__(self, *parts, ends=True):
        self.parts, self.ends, self.taken = parts, ends, 0

    async def receive(self):
        if self.taken == len(self.parts):
            await asyncio.Event().wait()
        part = self.parts[self.taken]
        self.taken += 1
        return {"type": "http.request", "body": part, "more_body": self.taken < len(self.parts) or not self.ends}


def body(client, *headers):
    return Body({"headers": headers}, client.receive)


def discard(client, *headers, timeout=60):
    asyncio.run(body(client, *headers).discard(timeout))
    return client.taken


def test_the_rest_is_thrown_away_up_to_a_bound(monkeypatch):
    monkeypatch.setattr(requests, "DISCARDED_BYTES", 10)
    assert discard(Client(b"abc", b"def"), CHUNKED) == 2
    assert discard(Client(b"abc", b"def"), (b"content-length", b"6")) == 2
    assert discard(Client(b"abc")) == 0  # it has none, by its head
    assert discard(Client(*[b"abc"] * 9), CHUNKED) == 4
    assert discard(Client(b"abc"), (b"content-length", b"11")) == 0
    assert discard(Client(b"abc"), (b"content-length", b"3"), (b"expect", b"100-continue")) == 0  # it was not asked for
    assert discard(Client(b"abc", ends=False), CHUNKED, timeout=0.01) == 1


@pytest.mark.parametrize("parts", [(b"a" * 21,), (b"a" * 10, b"b" * 11), (b"a" * 21, b"b")])
def test_a_body_above_the_limit_is_refused_also_in_its_last_part(parts):
    with pytest.raises(Refused, match="at most 20 bytes") as caught:
        asyncio.run(body(Client(*parts), CHUNKED).read(20))
    assert caught.value.status == 413


def test_gzip_is_uncompressed_up_to_the_limit():
    for content in (b"", b"a", b"ab" * 500):
        assert uncompressed(gzip.compress(content), 1000) == content
    bomb = gzip.compress(b"\0" * 50_000_000)
    assert len(bomb) < 60_000
    with pytest.raises(Refused, match="at most 1000 bytes") as caught:
        uncompressed(bomb, 1000)
    assert caught.value.status == 413


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", gzip.compress(b"abc")[:-1], gzip.compress(b"abc")[:5], gzip.compress(b"a") * 2, b"\x1f\x8b" * 99],
    ids=["nothing", "JSON", "cut", "half a head", "two streams", "garbage"],  # gzip's own bytes have the time in them
)
def test_what_is_no_whole_gzip_stream_is_refused(content):
    with pytest.raises(Refused, match="must be one whole gzip stream") as caught:
        uncompressed(content, 1000)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("host", "address", "flag", "names"),
    [
        ("127.0.0.1", "127.0.0.1", None, ["localhost", "127.0.0.1", "::1"]),
        ("localhost", "127.0.0.1", None, ["localhost", "127.0.0.1", "::1"]),
        ("127.0.0.2", "127.0.0.2", None, ["localhost", "127.0.0.1", "::1", "127.0.0.2"]),
        ("::1", "::1", "A.example, b", ["localhost", "127.0.0.1", "::1", "a.example", "b"]),
        ("0.0.0.0", "0.0.0.0", None, None),
        ("0.0.0.0", "0.0.0.0", "a", ["localhost", "127.0.0.1", "::1", "0.0.0.0", "a"]),
        ("127.0.0.1", "127.0.0.1", "*", None),
    ],
)
def test_which_hosts_are_allowed(host, address, flag, names):
    assert allowed_names(host, address, flag) == names


@pytest.mark.parametrize(
    ("hosts", "is_allowed"),
    [
        ([], True),  # HTTP/1.0 has none, and browsers always send one
        (["localhost"], True),
        (["LOCALHOST:8501"], True),
        (["[::1]:8501"], True),
        (["127.0.0.1:"], True),
        (["evil.example:8501"], False),
        (["localhost.evil.example"], False),
        (["localhost", "evil.example"], False),
        (["::1"], False),
        (["localhost:80:80"], False),
        (["user@localhost"], False),
        ([""], False),
    ],
)
def test_a_request_for_another_host_is_refused(hosts, is_allowed):
    sent = []

    async def app(scope, receive, send):
        sent.append("answered")

    async def send(message):
        sent.append(message.get("status"))

    scope = {"headers": [(b"host", host.encode()) for host in hosts]}
    asyncio.run(AllowedHosts(app, ["localhost", "127.0.0.1", "::1"], 1)(scope, Client().receive, send))
    assert sent == (["answered"] if is_allowed else [403, None])
