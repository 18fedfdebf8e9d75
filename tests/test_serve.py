"""tfvae.serve as its clients see it: real processes, real sockets, on the loopback alone."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import serving_contract as contract
from serving_contract import PREDICT, request

ROOT = Path(__file__).parents[1]
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


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    base = tmp_path_factory.mktemp("models") / "vae"
    contract.write(base)
    return base


@pytest.fixture(scope="module")
def url(base):
    if real := os.environ.get("TF_SERVING_REST"):
        yield real
    else:
        with served(base) as (url, _):
            yield url


@pytest.mark.parametrize("case", contract.CASES, ids=lambda case: case.name)
def test_the_contract(url, case):
    contract.check(url, case)


def test_the_contract_s_metadata(url):
    contract.check_metadata(url)


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def states(url):
    return {s["version"]: s["state"] for s in request(url, "/v1/models/vae")[1]["model_version_status"]}


def connect(url):
    return socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=10)


def raw(url, *parts, pause=0.0):
    """What a server answers to these bytes, until it hangs up."""
    with connect(url) as client, contextlib.suppress(ConnectionError):
        told = b""
        for part in parts:
            client.sendall(part)
            time.sleep(pause)
        with contextlib.suppress(ConnectionError):
            while chunk := client.recv(65536):
                told += chunk
    return told


def resident_mb(process):
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


def head(length, path=PREDICT):
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n".encode()


@pytest.fixture(scope="module")
def strict(base):
    """A server with narrow limits."""
    with served(base, "--max_body_mb=0.01", "--max_rows=4", "--max_concurrency=2", "--timeout=1") as (url, process):
        yield url, process


def test_limits_and_what_is_no_json(strict):
    url, _ = strict
    for body in (b'{"instances": [[NaN, 1]]}', b'{"inputs": [[Infinity, 1]]}', b'{"inputs": [[1e999, 1]]}'):
        status, told = request(url, PREDICT, body)
        assert status == 400 and told["error"].startswith("JSON Parse error: ")
    assert request(url, PREDICT, {"instances": [[0, 3e38]]})[1]["error"].startswith("an output is not finite")
    assert request(url, PREDICT, {"instances": [[1, 2]] * 4})[0] == 200
    assert request(url, PREDICT, {"instances": [[1, 2]] * 5}) == (
        400,
        {"error": "5 rows: must be at most 4, see --max_rows"},
    )
    large = "the body must be at most 10485 bytes, see --max_body_mb"
    assert request(url, PREDICT, b" " * 10_486) == (413, {"error": large})
    chunks = b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" % PREDICT.encode()
    assert b" 413 " in raw(url, chunks, *[b"1000\r\n" + b" " * 4096 + b"\r\n"] * 3).partition(b"\r\n")[0]
    assert len(request(url, PREDICT, {"a" * 5000: 1, "instances": 1})[1]["error"]) < 1100  # no echo of it all


def test_slow_clients_are_cut_off_and_others_go_on(strict):
    url, _ = strict
    with contextlib.ExitStack() as stack:
        silent, half, slow, slow2 = (stack.enter_context(connect(url)) for _ in range(4))
        half.sendall(b"POST /v1/mod")
        for client in (slow, slow2):
            client.sendall(head(20) + b'{"insta')
        wait_for(lambda: request(url, PREDICT, ONE)[0] == 503, 0.9)  # both places are taken
        assert request(url, "/v1/models/vae")[0] == 200
        start = time.monotonic()
        assert silent.recv(100) == b"" and half.recv(100) == b""
        told = slow.recv(4096)
        assert told.startswith(b"HTTP/1.1 408 ") and b"did not arrive in 1 s" in told + slow.recv(4096)
        assert time.monotonic() - start < 5
        assert request(url, PREDICT, ONE)[0] == 200


def test_the_explorer_and_no_other_file_of_the_directory(strict, base):
    url, _ = strict
    assert b"python -m tfvae.export --run_dir=runs/vae --explorer" in request(url, "/")[1]
    (base / "explorer.html").write_text("<title>latent space</title>")
    assert request(url, "/") == (200, b"<title>latent space</title>")
    for path in ("/explorer.html", "/7/saved_model.pb", "/../vae/7", "/%2e%2e/etc/passwd", "/docs", "//etc/passwd"):
        assert request(url, path) == (404, {"error": "Not Found"})


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
        for broken in ("10", "11"):
            shutil.rmtree(base / broken)
        wait_for(lambda: states(url)["1"] == "AVAILABLE")  # back to the one before
        for data in (base / "1" / "variables").glob("variables.data*"):
            shutil.copy(data, base / "12" / "variables")  # the rest of it arrives
        wait_for(lambda: states(url)["12"] == "AVAILABLE")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_once_what_runs_is_answered(base, number):
    with served(base) as (url, process):
        with connect(url) as client:
            client.sendall(head(26) + b'{"instances": [[1, ')
            time.sleep(0.3)
            process.send_signal(number)
            time.sleep(0.3)
            client.sendall(b"2.0]]} ")
            assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
        assert process.wait(10) == 128 + number


@pytest.mark.parametrize(
    "arguments, status, reason",
    [
        ([], 2, "must be given a directory first"),
        (["--port=0"], 2, "must be given a directory first"),
        (["{0}/none"], 2, "must be a directory of exported versions"),
        (["{0}/vae/7"], 2, "must be a directory of exported versions"),
        (["{0}/broken"], 1, "no version loads"),
        (["{0}/vae", "--port={1}"], 1, "Address already in use"),
        (["{0}/vae", "--max_rows=0"], 2, "must be a whole number"),
        (["{0}/vae", "fastapi"], 2, "arguments must be flags"),
    ],
)
def test_what_can_t_be_served_is_told_in_one_line(strict, base, arguments, status, reason):
    broken = base.with_name("broken") / "1"
    broken.mkdir(parents=True, exist_ok=True)
    (broken / "saved_model.pb").write_bytes(b"")
    arguments = [a.format(base.parent, urlsplit(strict[0]).port) for a in arguments]
    done = subprocess.run([sys.executable, "-m", "tfvae.serve", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert reason in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


def test_a_missing_package_is_named(base, tmp_path):
    (tmp_path / "fastapi.py").write_text("raise ImportError('No module named fastapi')")
    done = subprocess.run(
        [sys.executable, "-m", "tfvae.serve", str(base)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
    )
    told = "tfvae.serve: must have fastapi, uvicorn and orjson: pip install 'tfvae[serve]'\n"
    assert (done.returncode, done.stderr) == (2, told)


def hostile():
    """200 requests (method, path, body) that are malformed or mean harm."""
    rng, good = random.Random(0), b'{"instances": [[0.5, -1.0]], "signature_name": "decode"}'
    bodies = [
        b"[" * 100_000,
        b'{"instances":' + b"[" * 1020 + b"1" + b"]" * 1020 + b"}",
        b'{"a":' * 50_000,
        b"\xff\xfe" * 99,
    ]
    bodies += [
        b"\x00" * 999,
        b'{"instances": [[1' + b"0" * 400 + b", 1]]}",
        b'{"inputs": [[-0.0, 1e-999]]}',
        b'"\\ud800"',
    ]
    bodies += [b'{"instances": [' + b"[1, 2]," * 60_000 + b"[1, 2]]}", b'{"inputs": [' + b"[]," * 300_000 + b"[]]}"]
    bodies += [b'{"instances": {"b64": "AAAA"}}', b'{"instances": [{"b64": "AAAA"}]}', b'{"inputs": {"z": {"b64": 1}}}']
    bodies += [
        b'{"signature_name": "__saved_model_init_op", "inputs": 1}',
        b'{"signature_name": "\\u0000", "inputs": 1}',
    ]
    wrong = (
        b"null",
        b"true",
        b'"1"',
        b"{}",
        b"[]",
        b"[[]]",
        b"[[[]]]",
        b"[[null]]",
        b"[1, [2]]",
        b"[[1, 2], null]",
        b"1e308",
    )
    wrong += (
        b"[[1, 2, 3]]",
        b"[[1e38, 1e38]]",
        b"[[NaN, 1]]",
        b"[[-Infinity, 1]]",
        b"[[9223372036854775808, 1]]",
        b"-1",
    )
    for key in (b"instances", b"inputs"):
        for signature in (b"decode", b"sample"):
            bodies += [b'{"signature_name": "%s", "%s": %s}' % (signature, key, value) for value in wrong]
    while len(bodies) < 150:  # a good one with some bytes changed
        body = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        bodies.append(bytes(body))
    paths = [
        "/..",
        "/v1/models/../../../etc/passwd",
        "/v1/models/%2e%2e%2f%2e%2e%2fetc:predict",
        "/v1/models/vae%00:predict",
    ]
    paths += [
        "/v1/models/vae/versions/-1",
        "/v1/models/vae/versions/99999999999999999999",
        "/v1/models/vae/versions/7/x",
    ]
    paths += [
        "/v1/models/" + "a" * 20_000,
        "/v1/models/{}:predict",
        "/v1/models/vae/labels/%s",
        "/v1/models//metadata",
        "/%",
    ]
    paths += [
        "/v1/models/vae/versions/\u0667".encode().decode("latin-1"),
        "/V1",
        "//",
        "/v1/models/vae/metadata/metadata",
    ]
    requests = [("POST", PREDICT, body) for body in bodies]
    requests += [(method, path, None) for path in paths for method in ("GET", "POST", "DELETE")]
    return requests + [("BREW", "/", None), ("HEAD", PREDICT, None)]


@pytest.mark.slow
def test_200_hostile_requests_neither_crash_it_nor_leak_nor_are_its_error(base):
    requests = hostile()
    assert len(requests) >= 200
    garbage = [
        b"\x16\x03\x01\x02\x00",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"A" * 70_000,
        head(-5),
        head("x"),
        head(10**15),
    ]
    garbage += [
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000,
    ]
    with served(base, "--timeout=1", "--max_body_mb=1") as (url, process):

        def answered():
            for method, path, body in requests:
                with contextlib.suppress(ConnectionError):  # hung up on while it still sends
                    line = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode("latin-1", "replace")
                    told = raw(url, line + b"Content-Length: %d\r\n\r\n" % len(body or b"") + (body or b""))
                    assert told[9:12].isdigit() and 200 <= int(told[9:12]) < 500, (
                        method,
                        path,
                        (body or b"")[:80],
                        told[:300],
                    )
            for sent in garbage:
                assert raw(url, sent)[9:10] in b"24"  # or nothing at all
            assert request(url, PREDICT, ONE)[0] == 200

        answered()
        before = resident_mb(process)
        for _ in range(3):
            answered()
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


@pytest.mark.slow
def test_a_new_version_under_load_fails_no_request_and_leaves_none_behind(tmp_path):
    base = tmp_path / "vae"
    contract.write(base, 1, encoder=False)
    stop, counts, wrong = threading.Event(), [], []

    def client(url):
        import http.client

        connection, n = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10), 0
        while not stop.is_set():
            connection.request("POST", PREDICT, b'{"instances": [[1, 2]]}')
            response = connection.getresponse()
            told = response.read()
            n += 1
            if response.status != 200 or not told.startswith(b'{"predictions":[[[['):
                wrong.append((response.status, told))
        connection.close()
        counts.append(n)

    with served(base) as (url, process), ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(client, url) for _ in range(8)]
        try:
            sizes = []
            for version in range(2, 22):
                shutil.copytree(base / "1", base / f".{version}")
                os.rename(base / f".{version}", base / str(version))
                wait_for(lambda v=str(version): states(url).get(v) == "AVAILABLE")
                sizes.append(resident_mb(process))
        finally:
            stop.set()
        for done in clients:
            done.result()
        assert not wrong and sum(counts) > 1000
        assert sizes[-1] < sizes[4] + 30
        wait_for(lambda: list(states(url).values()) == ["AVAILABLE"] + ["END"] * 20)


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
