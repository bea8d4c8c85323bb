"""Damaged requests through the whole application; `benchmarks.fuzz` asks more of them."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.fuzz import ANSWERS, SHAPE, damaged, seeds
from tests.ml_backend.conftest import encode
from tests.ml_backend.fake_label_studio import serve_label_studio
from tests.ml_backend.test_app import TASK_24, TASK_25, Backend

BODIES = seeds()
QUICK = settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    photo = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3), dtype=np.uint8)
    journal: Path = tmp_path_factory.mktemp("journal")
    with serve_label_studio() as server:
        server.files |= {TASK_24: encode(photo), TASK_25: encode(photo)}
        yield Backend(server.url, journal=journal, prefetch=2)


def answer(backend: Backend, path: str, content: bytes) -> httpx.Response:
    reply = backend.run(lambda client: client.post(path, content=content))
    assert reply.status_code in ANSWERS, reply.text
    if reply.status_code != 200:
        assert reply.json()["error"]
    return reply


@QUICK
@given(body=st.sampled_from(BODIES["/predict"]), chance=st.randoms(use_true_random=True))
def test_predict__damaged(backend, body, chance):
    content = damaged(body, chance)
    reply = answer(backend, "/predict", content)
    if reply.status_code == 200:
        assert isinstance(reply.json()["results"], list)


@QUICK
@given(body=st.sampled_from(BODIES["/webhook"]), chance=st.randoms(use_true_random=True))
def test_webhook__damaged(backend, body, chance):
    answer(backend, "/webhook", damaged(body, chance))


@QUICK
@given(content=st.binary(max_size=200))
def test_predict__any_bytes(backend, content):
    assert answer(backend, "/predict", content).status_code in {400, 422}


def test_seeds__are_answered(backend):
    for path, bodies in BODIES.items():
        for body in bodies:
            reply = backend.post(path, body)
            assert reply.status_code == 200, reply.text
