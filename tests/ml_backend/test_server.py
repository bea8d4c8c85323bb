"""A process that is told to stop: it says so, answers what it accepted, and ends within its bound."""

import asyncio
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from starlette.responses import PlainTextResponse

from ml_backend import server as module
from ml_backend.readiness import Readiness, State
from tests.ml_backend.conftest import free_port
from tests.ml_backend.live import connect, read_all, serving

ROOT = Path(__file__).parents[2]
PROGRAM = textwrap.dedent(
    """
    import asyncio, sys, time
    from concurrent.futures import ThreadPoolExecutor
    from contextlib import asynccontextmanager
    from fastapi import FastAPI
    from ml_backend.readiness import Readiness
    from ml_backend.server import serve

    readiness, worker = Readiness(), ThreadPoolExecutor(max_workers=1)

    @asynccontextmanager
    async def lifespan(app):
        readiness.ready()
        yield
        print("closed", flush=True)

    app = FastAPI(lifespan=lifespan)

    @app.get("/ready")
    def ready():
        return readiness.response()

    @app.get("/click")
    async def click():
        await asyncio.get_running_loop().run_in_executor(worker, time.sleep, 0.5)
        print("answered", flush=True)

    @app.get("/stuck")
    async def stuck():
        await asyncio.sleep(600)

    serve(app, readiness, "127.0.0.1", int(sys.argv[1]), drain_seconds=int(sys.argv[2]))
    print("after serve", flush=True)
    """
)


class Running:
    def __init__(self, process: subprocess.Popen, url: str) -> None:
        self.process = process
        self.url = url

    def refuses(self) -> bool:
        try:
            httpx.get(f"{self.url}/ready")
        except httpx.ConnectError:
            return True
        return False


@contextmanager
def running(drain_seconds: int) -> Iterator[Running]:
    port = free_port()
    command = [sys.executable, "-c", PROGRAM, str(port), str(drain_seconds)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    server = Running(process, f"http://127.0.0.1:{port}")
    try:
        deadline = time.monotonic() + 30
        while server.refuses() and time.monotonic() < deadline:
            time.sleep(0.05)
        yield server
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_serve__answers_what_it_accepted(stop):
    with running(drain_seconds=10) as server, ThreadPoolExecutor() as labelers, httpx.Client() as probe:
        assert probe.get(f"{server.url}/ready").status_code == 200
        clicks = [labelers.submit(httpx.get, f"{server.url}/click", timeout=20) for _ in range(4)]
        time.sleep(0.2)
        server.process.send_signal(stop)
        ready = probe.get(f"{server.url}/ready")
        assert ready.status_code == 503
        assert ready.json()["status"] == "draining"
        time.sleep(0.9)
        assert server.refuses()
        assert not all(click.done() for click in clicks)  # refused while clicks still wait in the queue
        assert [click.result().status_code for click in clicks] == [200] * 4
        written, _ = server.process.communicate(timeout=5)
    # SIGTERM ends the process inside `serve`, so nothing may be left to do after it
    after = [] if stop == signal.SIGTERM else ["after serve"]
    assert written.split("\n")[:-1] == ["answered"] * 4 + ["closed"] + after
    assert server.process.returncode == (-signal.SIGTERM if stop == signal.SIGTERM else 0)


def test_serve__ends_within_its_bound():
    with running(drain_seconds=1) as server, ThreadPoolExecutor() as labelers:
        stuck = labelers.submit(httpx.get, f"{server.url}/stuck", timeout=20)
        time.sleep(0.3)
        started = time.monotonic()
        server.process.terminate()
        written, _ = server.process.communicate(timeout=10)
        seconds = time.monotonic() - started
        assert stuck.result().status_code == 500
    assert written == "closed\n"
    assert 1.5 < seconds < 3.5  # notice, drain, and what uvicorn sleeps


def test_serve__without_work_it_ends_at_once():
    with running(drain_seconds=10) as server, httpx.Client() as idle:
        idle.get(f"{server.url}/ready")  # a connection kept alive does not hold it up
        started = time.monotonic()
        server.process.terminate()
        server.process.wait(10)
        assert time.monotonic() - started < 2.5


async def slow(scope, receive, send) -> None:
    await asyncio.sleep(2.5)
    await PlainTextResponse("done")(scope, receive, send)


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_head_that_never_ends(sent, monkeypatch):
    monkeypatch.setattr(module, "HEAD_SECONDS", 0.5)
    server = serving(slow, lambda config: module.Server(config, Readiness()))
    with server as port, connect(port) as idle, connect(port) as busy:
        busy.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        idle.sendall(sent)
        started = time.monotonic()
        assert read_all(idle) == b""
        assert time.monotonic() - started < 2.2
        assert read_all(busy).endswith(b"done")  # one that is being answered is left alone


def test_readiness__states():
    readiness = Readiness()
    assert (readiness.state, readiness.response().status_code) == (State.STARTING, 503)
    readiness.ready()
    assert (readiness.state, readiness.reason, readiness.response().status_code) == (State.READY, "", 200)
    readiness.start("the golden click fails")
    assert b"the golden click fails" in readiness.response().body
    assert readiness.response().headers["Retry-After"] == "1"


def test_readiness__draining_is_final():
    readiness = Readiness()
    readiness.drain()
    readiness.ready()
    readiness.start("loading")
    assert readiness.state is State.DRAINING
    assert "stopping" in readiness.reason
