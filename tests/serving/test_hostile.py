"""tfvae.serve under requests that mean harm, and under load while new versions appear."""

import contextlib
import http.client
import os
import random
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
import serving_contract as contract
from servers import ONE, connect, head, raw, resident_mb, served, states, wait_for
from serving_contract import PREDICT, request

pytestmark = pytest.mark.slow

GOOD = b'{"instances": [[0.5, -1.0]], "signature_name": "decode"}'
BODIES = [
    b"[" * 100_000,
    b'{"instances":' + b"[" * 1020 + b"1" + b"]" * 1020 + b"}",
    b'{"a":' * 50_000,
    b"\xff\xfe" * 99,
    b"\x00" * 999,
    b'{"instances": [[1' + b"0" * 400 + b", 1]]}",
    b'{"inputs": [[-0.0, 1e-999]]}',
    b'"\\ud800"',
    b'{"instances": [' + b"[1, 2]," * 60_000 + b"[1, 2]]}",
    b'{"inputs": [' + b"[]," * 300_000 + b"[]]}",
    b'{"instances": {"b64": "AAAA"}}',
    b'{"instances": [{"b64": "AAAA"}]}',
    b'{"inputs": {"z": {"b64": 1}}}',
    b'{"signature_name": "__saved_model_init_op", "inputs": 1}',
    b'{"signature_name": "\\u0000", "inputs": 1}',
]
WRONG_VALUES = """null true "1" {} [] [[]] [[[]]] [[null]] [1,[2]] [[1,2],null] 1e308 [[1,2,3]] [[1e38,1e38]] [[NaN,1]]
    [[-Infinity,1]] [[9223372036854775808,1]] -1""".split()
PATHS = [
    "/..",
    "/v1/models/../../../etc/passwd",
    "/v1/models/%2e%2e%2f%2e%2e%2fetc:predict",
    "/v1/models/vae%00:predict",
    "/v1/models/vae/versions/-1",
    "/v1/models/vae/versions/99999999999999999999",
    "/v1/models/vae/versions/7/x",
    "/v1/models/" + "a" * 20_000,
    "/v1/models/{}:predict",
    "/v1/models/vae/labels/%s",
    "/v1/models//metadata",
    "/%",
    "/v1/models/vae/versions/\u0667".encode().decode("latin-1"),
    "/V1",
    "//",
    "/v1/models/vae/metadata/metadata",
]
NO_HTTP = [
    b"\x16\x03\x01\x02\x00",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"A" * 70_000,
    head(-5),
    head("x"),
    head(10**15),
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000,
]


def hostile_requests():
    """200 requests (method, path, body) that are malformed or mean harm."""
    bodies = list(BODIES)
    for key in ("instances", "inputs"):
        for signature in ("decode", "sample"):
            bodies += [f'{{"signature_name": "{signature}", "{key}": {v}}}'.encode() for v in WRONG_VALUES]
    rng = random.Random(0)
    while len(bodies) < 150:  # a good one with some bytes changed
        body = bytearray(GOOD)
        for _ in range(rng.randint(1, 4)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        bodies.append(bytes(body))
    requests = [("POST", PREDICT, body) for body in bodies]
    requests += [(method, path, b"") for path in PATHS for method in ("GET", "POST", "DELETE")]
    return [*requests, ("BREW", "/", b""), ("HEAD", PREDICT, b"")]


def send_all(url, requests):
    for method, path, body in requests:
        with contextlib.suppress(ConnectionError):  # hung up on while it still sends
            line = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".encode("latin-1", "replace")
            answer = raw(url, line + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            assert answer[9:12].isdigit(), (method, path, body[:80], answer[:300])
            assert 200 <= int(answer[9:12]) < 500, (method, path, body[:80], answer[:300])
    for content in NO_HTTP:
        assert raw(url, content)[9:10] in b"24"  # or nothing at all
    assert request(url, PREDICT, ONE)[0] == 200


def test_200_hostile_requests_neither_crash_it_nor_leak_nor_are_its_error(base):
    requests = hostile_requests()
    assert len(requests) >= 200
    with served(base, "--timeout=1", "--max_body_mb=1") as (url, process):
        send_all(url, requests)
        before = resident_mb(process)
        for _ in range(3):
            send_all(url, requests)
        assert resident_mb(process) < before + 30
        slow = [connect(url) for _ in range(60)]
        for i, client in enumerate(slow):
            client.sendall(head(1000)[: 10 * (i + 1)])
        assert request(url, "/v1/models/vae")[0] == 200
        time.sleep(2.5)
        wait_for(lambda: len(os.listdir(f"/proc/{process.pid}/fd")) < 40)  # it has hung up on them all
        for client in slow:
            client.close()
        assert process.poll() is None


class Clients:
    """Threads that send predictions until they are stopped; `wrong` holds answers that are no image."""

    def __init__(self, url):
        self.address, self.stop = urlsplit(url).netloc, threading.Event()
        self.counts, self.wrong = [], []

    def run(self):
        connection, count = http.client.HTTPConnection(self.address, timeout=30), 0
        while not self.stop.is_set():
            connection.request("POST", PREDICT, b'{"instances": [[1, 2]]}')
            response = connection.getresponse()
            answer = response.read()
            count += 1
            if response.status != 200 or not answer.startswith(b'{"predictions":[[[['):
                self.wrong.append((response.status, answer))
        connection.close()
        self.counts.append(count)


def publish_20_versions(base, url, process):
    """Returns the server's MB after each."""
    sizes = []
    for version in range(2, 22):
        shutil.copytree(base / "1", base / f".{version}")
        os.rename(base / f".{version}", base / str(version))
        wait_for(lambda v=str(version): states(url).get(v) == "AVAILABLE")
        sizes.append(resident_mb(process))
    return sizes


def test_a_new_version_under_load_fails_no_request_and_leaves_none_behind(tmp_path):
    base = tmp_path / "vae"
    contract.write(base, 1, encoder=False)
    with served(base) as (url, process), ThreadPoolExecutor(8) as pool:
        clients = Clients(url)
        running = [pool.submit(clients.run) for _ in range(8)]
        try:
            sizes = publish_20_versions(base, url, process)
        finally:
            clients.stop.set()
        for client in running:
            client.result()
        assert not clients.wrong and sum(clients.counts) > 1000
        assert sizes[-1] < sizes[4] + 30
        wait_for(lambda: list(states(url).values()) == ["AVAILABLE"] + ["END"] * 20)
