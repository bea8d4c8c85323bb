"""Bodies that are too large or too slow, over real sockets, in an application that counts what reaches it."""

import json
import time
from collections.abc import Iterator

import httpx
import pytest

from ml_backend.limits import Limits
from tests.ml_backend.live import connect, read_all, serving

HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\n"
MEGABYTE = 2**20


class Counting:
    """Answers with the length of the body; remembers what was called."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    async def __call__(self, scope, receive, send) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.lengths.append(len(body))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(len(body)).encode()})


class Served:
    def __init__(self, port: int, app: Counting, failures: list) -> None:
        self.port, self.app, self.failures = port, app, failures
        self.url = f"http://127.0.0.1:{port}/predict"


@pytest.fixture(scope="module")
def running() -> Iterator[Served]:
    app, failures = Counting(), []
    limits = Limits(
        app,
        max_body_mb=1,
        seconds=0.6,
        failed=lambda path, status, text: failures.append((path, status, text)),
    )
    with serving(limits) as port:
        yield Served(port, app, failures)


@pytest.fixture
def served(running) -> Served:
    running.app.lengths.clear()
    running.failures.clear()
    return running


def split(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    return int(head.split()[1]), json.loads(body)["error"]


@pytest.mark.parametrize("size", [0, 5, MEGABYTE])
def test_limits__passes_whole_bodies(served, size):
    assert httpx.post(served.url, content=b"x" * size).text == str(size)
    assert httpx.get(served.url).text == "0"
    assert not served.failures


def test_limits__announced_too_large_is_refused_unread(served):
    with connect(served.port) as connection:
        connection.sendall(HEAD + f"Content-Length: {5 * MEGABYTE}\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"}"):  # before a byte of the body was sent
            answer += connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"The body has 5242880 bytes (5.0 MB), and 1 MB are accepted: raise MASKLOOP_MAX_BODY_MB" in answer
    assert served.app.lengths == []
    assert served.failures[0][:2] == ("/predict", 413)


def test_limits__expecting_100_continue(served):
    with connect(served.port) as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 9999999\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("chunked", [False, True])
def test_limits__client_that_sends_everything_reads_why(served, chunked):
    content = iter([b"x" * MEGABYTE] * 8) if chunked else b"x" * (8 * MEGABYTE)
    reply = httpx.post(served.url, content=content)
    assert reply.status_code == 413
    assert "1 MB are accepted" in reply.json()["error"]
    assert served.app.lengths == []


def test_limits__chunks_without_end_are_cut_off(served):
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    sent = 0
    with connect(served.port) as connection, pytest.raises(OSError):
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        started = time.monotonic()
        while time.monotonic() - started < 8:
            connection.sendall(chunk)
            sent += 1
            time.sleep(0.02 if sent > 32 else 0)
    assert served.app.lengths == []


@pytest.mark.parametrize("head", [b"Content-Length: 100\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"])
def test_limits__slow_body(served, head):
    with connect(served.port) as connection:
        started = time.monotonic()
        connection.sendall(HEAD + head + b"5\r\nab")
        status, error = split(read_all(connection))
    assert (status, served.app.lengths) == (408, [])
    assert "did not arrive within 0.6 s" in error
    assert 0.5 < time.monotonic() - started < 2


def test_limits__one_byte_at_a_time_is_as_slow(served):
    with connect(served.port) as connection:
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n")
        for _ in range(5):
            connection.sendall(b"x")
            time.sleep(0.1)
        assert split(read_all(connection))[0] == 408


def test_limits__client_that_leaves(served):
    with connect(served.port) as connection:
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\nhalf")
    time.sleep(0.2)
    assert httpx.get(served.url).text == "0"
    assert (served.app.lengths, served.failures) == ([0], [])


def test_limits__application_sees_the_client_leave():
    seen = []

    async def waiting(scope, receive, send):
        await receive()
        seen.append((await receive())["type"])

    with serving(Limits(waiting, 1, 5)) as port:
        with connect(port) as connection:
            connection.sendall(HEAD + b"Content-Length: 2\r\n\r\nab")
            time.sleep(0.2)
        deadline = time.monotonic() + 5
        while not seen and time.monotonic() < deadline:
            time.sleep(0.02)
    assert seen == ["http.disconnect"]
