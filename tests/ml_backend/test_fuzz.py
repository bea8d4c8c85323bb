"""Damaged requests through the whole application; `benchmarks.fuzz` asks more of them."""

import asyncio
import json
from collections.abc import Callable, Iterator
from queue import Queue
from threading import Thread

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.fuzz import ANSWERS, SHAPE, damaged, seeds
from tests.ml_backend.conftest import encode
from tests.ml_backend.fake_label_studio import serve_label_studio
from tests.ml_backend.test_app import TASK_24, TASK_25, Backend

Ask = Callable[[str, bytes], httpx.Response]

BODIES = seeds()
QUICK = settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Asks one service that runs in a thread for all examples: to start one takes longer than to ask it."""
    photo = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3), dtype=np.uint8)
    started: Queue[tuple[httpx.AsyncClient, asyncio.AbstractEventLoop, asyncio.Event]] = Queue()

    async def stay(client: httpx.AsyncClient) -> None:
        stop = asyncio.Event()
        started.put((client, asyncio.get_running_loop(), stop))
        await stop.wait()

    with serve_label_studio() as server:
        server.files |= {TASK_24: encode(photo), TASK_25: encode(photo)}
        backend = Backend(server.url, journal=tmp_path_factory.mktemp("journal"), prefetch=2)
        thread = Thread(target=backend.run, args=(stay,))
        thread.start()
        client, loop, stop = started.get(timeout=10)
        yield lambda path, content: asyncio.run_coroutine_threadsafe(
            client.post(path, content=content), loop
        ).result(30)
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def answer(ask: Ask, path: str, content: bytes) -> httpx.Response:
    reply = ask(path, content)
    assert reply.status_code in ANSWERS, reply.text
    if reply.status_code != 200:
        assert reply.json()["error"]
    return reply


@QUICK
@given(body=st.sampled_from(BODIES["/predict"]), chance=st.randoms(use_true_random=True))
def test_predict__damaged(ask, body, chance):
    content = damaged(body, chance)
    reply = answer(ask, "/predict", content)
    if reply.status_code == 200:
        assert isinstance(reply.json()["results"], list)


@QUICK
@given(body=st.sampled_from(BODIES["/webhook"]), chance=st.randoms(use_true_random=True))
def test_webhook__damaged(ask, body, chance):
    answer(ask, "/webhook", damaged(body, chance))


@QUICK
@given(content=st.binary(max_size=200))
def test_predict__any_bytes(ask, content):
    assert answer(ask, "/predict", content).status_code in {400, 422}


def test_seeds__are_answered(ask):
    for path, bodies in BODIES.items():
        for body in bodies:
            reply = ask(path, json.dumps(body).encode())
            assert reply.status_code == 200, reply.text
