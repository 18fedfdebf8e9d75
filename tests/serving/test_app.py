"""The ASGI application in this process: paths, limits, and who waits for whom; no sockets, no clock."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tfvae.serving import app
from tfvae.serving.app import Application, ExplorerPage, Limits, Target, make_app, parse_path
from tfvae.serving.contract import Refused

PREDICT = "/v1/models/vae:predict"


class Api:
    """Answers with what it was asked."""

    def predict(self, name, version, body):
        if body == b"refused":
            raise Refused(400, "no")
        if body == b"broken":
            raise RuntimeError("a secret")
        return json.dumps([name, version, body.decode()]).encode()

    def status(self, name, version):
        return {"status": [name, version]}

    def metadata(self, name, version):
        return {"metadata": [name, version]}


@pytest.fixture
def application():
    with ThreadPoolExecutor(1) as pool:
        yield Application(Api(), Limits(body_bytes=20, concurrency=2, timeout=60), pool)


async def call(application, method, path, *body, headers=()):
    """(status, content) of a request whose body is these parts, bytes or ASGI messages; then nothing more comes."""
    messages = []
    for i, part in enumerate(body or (b"",)):
        if isinstance(part, bytes):
            part = {"type": "http.request", "body": part, "more_body": i + 1 < len(body)}
        messages.append(part)
    sent = []

    async def receive():
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    if body:
        headers = [*headers, (b"transfer-encoding", b"chunked")]
    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode("latin-1"), "headers": headers}
    scope["query_string"] = b""
    await application(scope, receive, send)
    start, body = sent
    assert dict(start["headers"])[b"content-length"] == b"%d" % len(body["body"])
    return start["status"], body["body"]


def answer(application, *request, **options):
    status, body = asyncio.run(call(application, *request, **options))
    return status, json.loads(body)


@pytest.mark.parametrize(
    ("method", "path", "target"),
    [
        ("POST", PREDICT, Target("vae", None, "predict")),
        ("POST", "/V1/Models/vae/Versions/007:PREDICT", Target("vae", 7, "predict")),
        ("POST", "/v1/models/a%20b%2Fc:predict", Target("a b/c", None, "predict")),
        ("GET", "/v1/models/vae", Target("vae", None, "status")),
        ("GET", "/v1/models/vae/versions/7", Target("vae", 7, "status")),
        ("HEAD", "/v1/models/vae", Target("vae", None, "status")),
        ("GET", "/v1/models/vae/metadata", Target("vae", None, "metadata")),
        ("GET", f"/v1/models/vae/versions/{2**63 - 1}/metadata", Target("vae", 2**63 - 1, "metadata")),
    ],
)
def test_a_path_names_a_model_a_version_and_a_method(method, path, target):
    assert parse_path(method, path) == target


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/explorer.html", 404, "Not Found"),
        ("POST", "/", 404, "Not Found"),
        ("PUT", PREDICT, 400, f"Malformed request: PUT {PREDICT}"),
        ("HEAD", PREDICT, 400, f"Malformed request: HEAD {PREDICT}"),
        ("GET", PREDICT, 400, f"Malformed request: GET {PREDICT}"),
        ("POST", "/v1/models/vae", 400, "Malformed request: POST /v1/models/vae"),
        ("POST", "/v1/models/vae/versions/-1:predict", 400, "Malformed request: "),
        ("POST", "/v1/models/vae/versions/\u0661:predict", 400, "Malformed request: "),  # a digit, and not ASCII
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("GET", "/v1/models/versions/7", 400, "Missing model name in request."),
        ("GET", f"/v1/models/vae/versions/{2**63}", 400, f"Failed to convert version: {2**63} to numeric."),
        ("GET", "/v1/models/vae/labels/a%20b", 400, "Unrecognized servable version label: a b"),
        ("POST", "/v1/models/vae:Classify", 400, "Expected classify signature: these are for predict alone"),
        ("POST", "/v1/models/vae:regress", 400, "Expected regress signature: these are for predict alone"),
    ],
)
def test_a_path_that_is_not_served_is_refused(method, path, status, message):
    with pytest.raises(Refused) as caught:
        parse_path(method, path)
    assert caught.value.status == status and str(caught.value).startswith(message)


def test_predict_status_and_metadata_are_the_api_s(application):
    assert answer(application, "POST", PREDICT, b"abc", b"", b"d") == (200, ["vae", None, "abcd"])
    assert answer(application, "POST", PREDICT + "?a=b", b"x") == (200, ["vae", None, "x"])
    assert answer(application, "POST", PREDICT, {"type": "http.request"}) == (200, ["vae", None, ""])
    assert answer(application, "GET", "/v1/models/vae/versions/7") == (200, {"status": ["vae", 7]})
    assert answer(application, "GET", "/v1/models/vae/metadata") == (200, {"metadata": ["vae", None]})


def test_a_refusal_is_its_status_and_a_fault_is_a_500_that_tells_nothing(application, capsys):
    assert answer(application, "POST", PREDICT, b"refused") == (400, {"error": "no"})
    own = "an error of the server's own, which it has logged"
    assert answer(application, "POST", PREDICT, b"broken") == (500, {"error": own})
    assert "RuntimeError: a secret" in capsys.readouterr().err
    assert application.running == 0


def test_a_body_may_be_as_large_as_the_limit_and_no_larger(application):
    large = "the body must be at most 20 bytes, see --max_body_mb"
    assert answer(application, "POST", PREDICT, b"a" * 20)[0] == 200
    assert answer(application, "POST", PREDICT, b"a" * 10, b"b" * 10)[0] == 200
    assert answer(application, "POST", PREDICT, b"a" * 10, b"b" * 11) == (413, {"error": large})
    declared = [(b"content-length", b"21")]
    assert answer(application, "POST", PREDICT, b"a", b"b" * 20, headers=declared) == (413, {"error": large})


def test_a_client_that_goes_is_let_go(application):
    messages = ({"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.disconnect"})
    assert answer(application, "POST", PREDICT, *messages) == (499, {"error": "the client has gone"})
    assert application.running == 0


def test_a_body_that_does_not_arrive_is_given_up(application):
    application.limits = application.limits._replace(timeout=0.01)
    half = {"type": "http.request", "body": b"a", "more_body": True}
    message = "the body did not arrive in 0.01 s, see --timeout"
    assert answer(application, "POST", PREDICT, half) == (408, {"error": message})
    assert application.running == 0


def test_above_the_limit_predictions_are_refused_and_other_requests_answered(application):
    async def three_at_once():
        half = {"type": "http.request", "body": b"a", "more_body": True}
        waiting = [asyncio.create_task(call(application, "POST", PREDICT, half)) for _ in range(2)]
        while application.running < 2:
            await asyncio.sleep(0)
        answers = [
            await call(application, "POST", PREDICT, b"x"),
            await call(application, "GET", "/v1/models/vae"),
        ]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return [*answers, await call(application, "POST", PREDICT, b"x")]

    refused, status, after = asyncio.run(three_at_once())
    message = "2 requests are being answered already, see --max_concurrency"
    assert (refused[0], json.loads(refused[1])) == (503, {"error": message})
    assert status[0] == 200 and after[0] == 200


def test_the_explorer_s_page_is_read_anew_and_html_is_escaped(tmp_path):
    page = ExplorerPage(tmp_path / "a&b")
    placeholder = page.get().body.decode()
    assert "--run_dir=runs/a&amp;b --explorer" in placeholder and 'href="/v1/models/a%26b/metadata"' in placeholder
    (tmp_path / "a&b").mkdir()
    (tmp_path / "a&b" / "explorer.html").write_text("<title>latent space</title>")
    response = page.get()
    assert response.body == b"<title>latent space</title>" and response.media_type == "text/html"
    unserved = (Path(app.__file__).parents[1] / "analysis" / "explorer.html").read_text()
    assert unserved.count('<meta name="served" content="">') == 1
    (tmp_path / "a&b" / "explorer.html").write_text(unserved)
    assert b'<meta name="served" content="/v1/models/a%26b:predict">' in page.get().body


def test_only_get_of_the_root_is_the_explorer_s(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        app = make_app(Api(), tmp_path, Limits(20, 2, 60), pool)

        def get(method, path):
            return asyncio.run(call(app, method, path))

        assert get("GET", "/")[1].startswith(b"<!doctype html>")
        assert get("HEAD", "/") == get("GET", "/")  # of which uvicorn sends the head
        for method, path in [("POST", "/"), ("HEAD", "//"), ("GET", "//"), ("GET", "/docs"), ("GET", "/openapi.json")]:
            assert get(method, path) == (404, b'{"error":"Not Found"}')
        for method in ("GET", "HEAD"):
            assert get(method, "/v1/models/vae") == (200, b'{"status":["vae",null]}')
            assert get(method, "/healthz") == (200, b'{"status":"ok"}')
        assert get("POST", "/healthz")[0] == 404
