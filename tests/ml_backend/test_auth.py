"""Who is admitted: paths in every spelling, methods, and credentials as clients encode them."""

import asyncio
import base64
import logging
import time
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse

from ml_backend.auth import Authentication
from ml_backend.settings import Settings
from tests.ml_backend.live import connect, read_all, serving

USER, PASSWORD, SECRET = "labeler", "pässwort", "geheim-ü"
GUARDED = Settings(basic_user=USER, basic_password=PASSWORD, webhook_secret=SECRET)


async def everything(scope, receive, send) -> None:
    """An application that answers whatever reaches it, as no router would."""
    await PlainTextResponse("inside")(scope, receive, send)


def ask(method: str, path: str, settings: Settings = GUARDED, failed=None, **options: Any) -> httpx.Response:
    async def talk() -> httpx.Response:
        transport = httpx.ASGITransport(Authentication(everything, settings, failed))
        async with httpx.AsyncClient(transport=transport, base_url="http://backend.example") as client:
            return await client.request(method, path, **options)

    return asyncio.run(talk())


def basic(pair: str, encoding: str = "utf-8", scheme: str = "Basic") -> dict[str, str]:
    return {"Authorization": f"{scheme} {base64.b64encode(pair.encode(encoding)).decode()}"}


@pytest.mark.parametrize("path", ["/", "/health", "/ready", "/health?x=1"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_probe(path, method):
    assert ask(method, path).status_code == 200


PATHS = [
    *("/metrics", "/status", "/predict", "/setup", "/versions", "/webhook", "/docs"),
    *("/x/health", "/health/", "/predict/health", "/health;x", "/HEALTH", "/health/../predict", "/health%20"),
    *(
        "/%68ealth",
        "/health%2F",
        "/%2Fhealth",
        "/x%2Fhealth",
        "/ready/",
        "/x/ready",
        "/health%00",
        "/health%0a",
    ),
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
def test_other_spelling_of_a_probe_is_none(path, method):
    assert ask(method, path).status_code == 401


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "PUT", "DELETE", "TRACE", "get"])
def test_probe__other_methods(method):
    async def talk() -> int:
        sent = []
        scope = {"type": "http", "method": method, "path": "/health", "raw_path": b"/health", "headers": []}

        async def receive():
            return {"type": "http.request", "body": b""}

        async def send(message):
            sent.append(message)

        await Authentication(everything, GUARDED)(scope, receive, send)
        return sent[0]["status"]

    assert asyncio.run(talk()) == 401


@pytest.fixture(scope="module")
def port():
    with serving(Authentication(everything, GUARDED)) as port:
        yield port


@pytest.mark.parametrize(
    "target",
    [
        "//health",
        "///",
        "http://x/health",
        "/./health",
        "*",
        "/health#",
        "/;/health",
        "/\\health",
        "/%2e/health",
    ],
)
def test_target_that_no_client_would_send(port, target):
    with connect(port) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = read_all(connection)
    assert answer.split()[1] in (b"401", b"400")
    assert b"inside" not in answer


def test_websocket__is_closed():
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "websocket", "path": "/health", "headers": []}
    asyncio.run(Authentication(everything, Settings())(scope, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize(
    "headers",
    [
        basic(f"{USER}:{PASSWORD}"),
        basic(f"{USER}:{PASSWORD}", "latin-1"),  # Label Studio's client
        basic(f"{USER}:{PASSWORD}", scheme="basic"),
    ],
)
def test_basic__admitted(headers):
    assert ask("GET", "/metrics", headers=headers).status_code == 200
    assert ask("POST", "/webhook", headers=headers).status_code == 200  # the Train button


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic(f"{USER}:{PASSWORD}x"),
        basic(f"{USER}:"),
        basic(":"),
        basic(f"{USER}:{PASSWORD}", scheme="Bearer"),
        {"Authorization": ""},
        {"Authorization": "Basic"},
        {"Authorization": "Basic ***"},
        {"Authorization": "Basic " + "ä".encode().hex()},
        [(b"Authorization", b"Basic \xff\xfe\xc3")],
        {"X-Maskloop-Secret": base64.b64encode(SECRET.encode()).decode()},
    ],
)
def test_basic__refused(headers):
    reply = ask("GET", "/status", headers=headers)
    assert reply.status_code == 401
    assert reply.headers["WWW-Authenticate"].startswith("Basic ")
    assert "MASKLOOP_BASIC_USER" in reply.json()["error"]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_webhook__secret(encoding):
    headers = [(b"X-Maskloop-Secret", SECRET.encode(encoding))]
    assert ask("POST", "/webhook", headers=headers).status_code == 200
    assert ask("POST", "/predict", headers=headers).status_code == 401


@pytest.mark.parametrize("sent", [b"", b"geheim", b"geheim-\xff", "geheim-ü ".encode() * 2])
def test_webhook__wrong_secret(sent):
    settings = Settings(webhook_secret=SECRET)  # without a user all other routes are open, this one is not
    assert ask("POST", "/webhook", settings, headers=[(b"X-Maskloop-Secret", sent)]).status_code == 401
    assert ask("POST", "/%77ebhook", settings).status_code == 401
    assert ask("POST", "/predict", settings).status_code == 200


def test_webhook__secret_beyond_latin_1():
    settings = Settings(webhook_secret="秘密")
    headers = [(b"X-Maskloop-Secret", "秘密".encode())]
    assert ask("POST", "/webhook", settings, headers=headers).status_code == 200


def test_refused__is_counted_and_logged_without_what_was_sent(caplog):
    failures = []
    sent = base64.b64encode(b"labeler:guessed-password").decode()
    with caplog.at_level(logging.DEBUG):
        ask(
            "POST",
            "/wp-admin",
            failed=lambda *failure: failures.append(failure),
            headers={"Authorization": f"Basic {sent}", "X-Maskloop-Secret": "guessed-secret"},
            content=b"guessed-body",
        )
    assert [failure[:2] for failure in failures] == [("any route", 401)]
    assert "/wp-admin" in caplog.text
    assert "guessed" not in caplog.text + str(failures)
    assert sent not in caplog.text


def test_refused__a_body_without_end_is_not_read_for_ever(port):
    with connect(port) as connection, pytest.raises(OSError):
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(100):
            connection.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")
            time.sleep(0.05)
