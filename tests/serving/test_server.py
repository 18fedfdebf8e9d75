"""tfvae.serve as its clients see it: real processes, real sockets, on the loopback alone."""

import contextlib
import gzip
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
import serving_contract as contract
from servers import ONE, ROOT, connect, head, raw, served, states, wait_for
from serving_contract import PREDICT, request


@pytest.fixture(scope="module")
def url(base):
    if real := os.environ.get("TF_SERVING_REST"):
        yield real
    else:
        with served(base) as (url, process):
            libraries = Path(f"/proc/{process.pid}/maps").read_text()
            assert "libtensorflow_cc" in libraries and "_pywrap_tensorflow" not in libraries
            yield url


@pytest.mark.parametrize("case", contract.CASES, ids=lambda case: case.name)
def test_the_contract(url, case):
    contract.check(url, case)


def test_the_contract_s_metadata(url):
    contract.check_metadata(url)


def test_the_client(url):
    path = str(ROOT / "serving")
    sys.path.insert(0, path)
    try:
        import client
    finally:
        sys.path.remove(path)
    with contextlib.closing(client.Client(url, "vae")) as vae:
        assert vae.wait() == "7"
        assert vae.decode([[1, 2], [0.5, -1]]) == [contract.A, contract.B]
        assert vae.sample([3]) == [contract.sampled(3)[0]["image"]]
        assert vae.encode([contract.A]) == {"mean": [[1.0, 2.0]], "log_variance": [[0.0, 1.0]]}
        with pytest.raises(client.ServingError, match="^400: Encountered list at unexpected size") as error:
            vae.encode([[[[1.0]], [[1.0], [1.0]]]])
        assert error.value.status == 400
    with (
        contextlib.closing(client.Client(url, "none")) as none,
        pytest.raises(TimeoutError, match="none: 404: Could not"),
    ):
        none.wait(0)


@pytest.fixture(scope="module")
def strict(base, tmp_path_factory):
    """A server with narrow limits, of a directory of its own: (its URL, the directory)."""
    own = tmp_path_factory.mktemp("strict") / "vae"
    shutil.copytree(base, own)
    with served(own, "--max_body_mb=0.01", "--max_rows=4", "--timeout=1") as (url, _):
        yield url, own


def test_limits_and_what_is_no_json(strict):
    url, _ = strict
    for body in (b'{"instances": [[NaN, 1]]}', b'{"inputs": [[Infinity, 1]]}', b'{"inputs": [[1e999, 1]]}'):
        status, answer = request(url, PREDICT, body)
        assert status == 400 and answer["error"].startswith("JSON Parse error: ")
    assert request(url, PREDICT, {"instances": [[0, 3e38]]})[1]["error"].startswith("an output is not finite")
    assert request(url, PREDICT, {"instances": [[1, 2]] * 4})[0] == 200
    rows = "5 rows: must be at most 4, see --max_rows"
    assert request(url, PREDICT, {"instances": [[1, 2]] * 5}) == (400, {"error": rows})
    large = "the body must be at most 10485 bytes, see --max_body_mb"
    assert request(url, PREDICT, b" " * 10_486) == (413, {"error": large})
    chunks = b"POST %s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" % PREDICT.encode()
    assert b" 413 " in raw(url, chunks, *[b"1000\r\n" + b" " * 4096 + b"\r\n"] * 3).partition(b"\r\n")[0]
    assert len(request(url, PREDICT, {"a" * 5000: 1, "instances": 1})[1]["error"]) < 1100  # no echo of it all


def post(body, *headers):
    """The bytes of a request by a client that sends it all before it looks for an answer, and then hangs up."""
    lines = [f"POST {PREDICT} HTTP/1.1", "Host: localhost", "Connection: close", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


@pytest.mark.parametrize("path", [PREDICT, "/v1/models/vae", "/other"])
def test_a_client_that_is_still_sending_sees_the_refusal(strict, path):
    url, _ = strict
    status = {PREDICT: b"413", "/v1/models/vae": b"400", "/other": b"404"}[path]
    for _ in range(3):  # a reset may come after the answer
        with connect(url) as client:
            client.sendall(post(b" " * 9_000_000).replace(PREDICT.encode(), path.encode(), 1))
            answer = b""
            while chunk := client.recv(65536):
                answer += chunk
        assert answer.startswith(b"HTTP/1.1 " + status) and answer.endswith(b"}")


def test_gzip_is_taken_and_bounded(strict):
    url, _ = strict
    good, gzipped = json.dumps(ONE).encode(), "Content-Encoding: gzip"
    assert raw(url, post(gzip.compress(good), gzipped)).startswith(b"HTTP/1.1 200 ")
    assert raw(url, post(gzip.compress(b" " * 1_000_000), gzipped)).startswith(b"HTTP/1.1 413 ")  # of 1,000 bytes
    assert b"must be one whole gzip stream" in raw(url, post(good, gzipped))


def test_head_is_get_without_the_body(strict):
    url, _ = strict
    for path in ("/", "/healthz", "/v1/models/vae", "/v1/models/vae/metadata"):
        answer = raw(url, f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        top, _, content = answer.partition(b"\r\n\r\n")
        assert top.startswith(b"HTTP/1.1 200 ") and b"content-length: " in top.lower() and content == b""
        assert request(url, path)[0] == 200


def test_a_page_of_another_site_can_t_call_it(strict):
    url, _ = strict
    port = url.rpartition(":")[2]
    for path in ("/", "/v1/models/vae"):
        for host in ("localhost", f"127.0.0.1:{port}", f"[::1]:{port}"):
            answer = raw(url, f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            assert answer.startswith(b"HTTP/1.1 200 ")
        answer = raw(url, f"GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 403 ") and b"Host: evil.example: must be one of localhost, " in answer


def test_slow_clients_are_cut_off_and_others_go_on(strict):
    url, _ = strict
    with contextlib.ExitStack() as stack:
        silent, half, slow, slow2 = (stack.enter_context(connect(url)) for _ in range(4))
        half.sendall(b"POST /v1/mod")
        for client in (slow, slow2):
            client.sendall(head(20) + b'{"insta')
        assert request(url, "/v1/models/vae")[0] == 200
        assert silent.recv(100) == b"" and half.recv(100) == b""
        for client in (slow, slow2):
            answer = b""
            while chunk := client.recv(4096):
                answer += chunk
            assert answer.startswith(b"HTTP/1.1 408 ") and b"did not arrive in 1 s" in answer
        assert request(url, PREDICT, ONE)[0] == 200


def test_the_explorer_and_no_other_file_of_the_directory(strict):
    url, base = strict
    assert b"python -m tfvae.export --run_dir=runs/vae --explorer" in request(url, "/")[1]
    (base / "explorer.html").write_text("<title>latent space</title>")
    assert request(url, "/") == (200, b"<title>latent space</title>")
    for path in ("/explorer.html", "/7/saved_model.pb", "/../vae/7", "/%2e%2e/etc/passwd", "/docs", "//etc/passwd"):
        assert request(url, path) == (404, {"error": "Not Found"})


def test_a_new_version_takes_over(strict):
    url, base = strict
    shutil.copytree(base / "7", base / ".8")
    os.rename(base / ".8", base / "8")
    wait_for(lambda: states(url) == {"8": "AVAILABLE", "7": "END"})
    assert request(url, "/v1/models/vae/versions/8:predict", ONE) == (200, {"predictions": [contract.A]})


def is_closed(url):
    try:
        connect(url).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_ends_it_once_what_runs_is_answered(base, number):
    with served(base, "--max_concurrency=1", "--timeout=60") as (url, process):
        with connect(url) as client:
            client.sendall(head(26) + b'{"instances": [[1, ')
            wait_for(lambda: request(url, PREDICT, ONE)[0] == 503)  # the only place is taken
            assert request(url, "/v1/models/vae")[0] == 200
            process.send_signal(number)
            wait_for(lambda: is_closed(url))
            client.sendall(b"2.0]]} ")
            assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
        assert process.wait(30) == 128 + number


@pytest.mark.slow
def test_versions_are_followed_and_broken_ones_are_not(tmp_path):
    base = tmp_path / "vae"
    contract.write(base, 1, encoder=False)
    with served(base) as (url, _):
        contract.write(base, 10, scale=2.0, encoder=False)  # after 1, not before 2
        wait_for(lambda: request(url, PREDICT, ONE)[1] == {"predictions": [[[[2.0], [4.0]], [[2.0], [6.0]]]]})
        wait_for(lambda: states(url) == {"10": "AVAILABLE", "1": "END"})
        assert request(url, "/v1/models/vae/versions/1:predict", ONE)[0] == 404
        (base / "11").mkdir()
        (base / "11" / "saved_model.pb").write_bytes(b"no graph")
        shutil.copytree(base / "1", base / "12", ignore=shutil.ignore_patterns("variables.data*"))
        (base / "13").mkdir()  # no saved_model.pb yet
        (base / "latest").mkdir()
        wait_for(lambda: {"11", "12"} <= set(states(url)))
        wait_for(lambda: states(url) == {"12": "END", "11": "END", "10": "AVAILABLE", "1": "END"})
        status = request(url, "/v1/models/vae/versions/12")[1]["model_version_status"][0]["status"]
        assert status["error_code"] != "OK" and status["error_message"]
        assert request(url, "/v1/models/vae/versions/10:predict", ONE)[0] == 200
        for version in ("10", "11"):
            shutil.rmtree(base / version)
        wait_for(lambda: states(url)["1"] == "AVAILABLE")  # back to the one before
        for data in (base / "1" / "variables").glob("variables.data*"):
            shutil.copy(data, base / "12" / "variables")  # the rest of it arrives
        wait_for(lambda: states(url)["12"] == "AVAILABLE")
