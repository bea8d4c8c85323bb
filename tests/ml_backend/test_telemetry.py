"""What is measured, by hand: figures of Prometheus' page and of the last clicks."""

import threading
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ml_backend import telemetry as module
from ml_backend.redaction import Redaction
from ml_backend.telemetry import STAGES, Telemetry


def sample(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    """A figure as Prometheus would read it."""
    body, content_type = telemetry.render()
    assert content_type.startswith("text/plain")
    for family in text_string_to_metric_families(body.decode()):
        for found in family.samples:
            if (found.name, found.labels) == (name, labels):
                return found.value
    return None


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry(version=lambda: "disc-1", sha256=lambda: "d15c")


def test_stage__seconds_in_the_histogram(telemetry):
    with telemetry.stage("fetch"):
        time.sleep(0.02)
    assert sample(telemetry, "maskloop_stage_seconds_count", stage="fetch") == 1
    assert 0.02 <= sample(telemetry, "maskloop_stage_seconds_sum", stage="fetch") < 0.2
    assert sample(telemetry, "maskloop_stage_seconds_bucket", stage="fetch", le="0.01") == 0
    assert telemetry.latency("fetch").clicks == 1


def test_stage__one_that_raises_is_not_counted(telemetry):
    with pytest.raises(ValueError, match="bad"), telemetry.stage("parse"):
        raise ValueError("bad")
    assert sample(telemetry, "maskloop_stage_seconds_count", stage="parse") == 0


def test_series_are_there_from_the_start(telemetry):
    for stage in STAGES:
        assert sample(telemetry, "maskloop_stage_seconds_count", stage=stage) == 0
    assert sample(telemetry, "maskloop_clicks_total", outcome="superseded") == 0


def test_latency__percentiles_of_the_last_200(telemetry):
    for second in [1000.0] * 50 + [float(number) for number in range(1, 201)]:
        telemetry.observe("total", second)
    latency = telemetry.latency("total")
    assert (latency.p50, latency.p95, latency.clicks) == (100, 190, 200)
    assert telemetry.recent("total")[-1] == 200


def test_latency__of_one_click_and_of_none(telemetry):
    telemetry.observe("total", 0.3)
    assert (telemetry.latency("total").p50, telemetry.latency("total").p95) == (0.3, 0.3)
    assert telemetry.latency("queue").clicks == 0


def test_counted__by_minute(telemetry, monkeypatch):
    now = 6000.0
    monkeypatch.setattr(module.time, "time", lambda: now)
    telemetry.counted("answered")
    now += 60
    telemetry.counted("answered")
    telemetry.counted("answered")
    telemetry.counted("superseded")
    now += 120
    assert telemetry.minutes("answered", 5) == [0, 1, 2, 0, 0]
    assert telemetry.minutes("superseded", 3) == [1, 0, 0]
    assert telemetry.total("answered") == 3
    now += 3600
    assert sum(telemetry.minutes("answered")) == 0


def test_cache__hits_and_bytes(telemetry):
    telemetry.watch_cache("images", lambda: 300, 1000)
    for hit in (True, True, False):
        telemetry.cache("images", hit)
    (cache,) = telemetry.caches()
    assert (cache.size, cache.capacity, cache.hits, cache.misses) == (300, 1000, 2, 1)
    assert sample(telemetry, "maskloop_cache_bytes", cache="images") == 300
    assert sample(telemetry, "maskloop_cache_capacity_bytes", cache="images") == 1000
    assert sample(telemetry, "maskloop_cache_lookups_total", cache="images", result="hit") == 2


def test_gauges__are_asked_when_read(telemetry):
    waiting = [1]
    telemetry.watch_queue(waiting.__len__, 32)
    waiting.append(2)
    assert sample(telemetry, "maskloop_queue_length") == 2
    assert sample(telemetry, "process_resident_memory_bytes") == telemetry.memory() > 10**6


def test_model__follows_a_swap():
    served = ["v1", time.time() - 100]
    telemetry = Telemetry(lambda: served[0], lambda: "d15c", lambda: served[1])
    assert sample(telemetry, "maskloop_model_info", version="v1", sha256="d15c") == 1
    assert 100 <= sample(telemetry, "maskloop_model_served_seconds") < 110
    served[:] = ["v2", time.time()]
    assert sample(telemetry, "maskloop_model_info", version="v1", sha256="d15c") is None
    assert sample(telemetry, "maskloop_model_info", version="v2", sha256="d15c") == 1


def test_failed__equal_messages_are_folded(telemetry):
    telemetry.failed("/predict", 422, "no label")
    telemetry.failed("/predict", 502, "not reached")
    telemetry.failed("/predict", 422, "no label")
    first, second = telemetry.failures()
    assert (first.status, first.message, first.count) == (422, "no label", 2)
    assert (second.status, second.count) == (502, 1)
    assert sample(telemetry, "maskloop_errors_total", status="422") == 2


def test_failed__keeps_50(telemetry):
    for number in range(60):
        telemetry.failed("/predict", 422, f"label {number}")
    assert [failure.message for failure in telemetry.failures()] == [
        f"label {number}" for number in range(59, 9, -1)
    ]


def test_failed__without_secrets_and_not_endless():
    telemetry = Telemetry(lambda: "", redaction=Redaction(["hunter22"]))
    telemetry.failed(
        "/predict?token=abc", 424, "hunter22 http://host/a.png?sig=1 Token abc123 " + "x" * 10_000
    )
    (failure,) = telemetry.failures()
    assert failure.path == "/predict?***"
    assert failure.message.startswith("*** http://host/a.png?*** Token *** x")
    assert len(failure.message) < 700


def test_registries_are_apart(telemetry):
    other = Telemetry(lambda: "other")
    other.counted("answered")
    assert telemetry.total("answered") == 0


def test_threads(telemetry):
    def work() -> None:
        for _ in range(300):
            with telemetry.stage("total"):
                pass
            telemetry.counted("answered")
            telemetry.failed("/predict", 422, "same")
            telemetry.latency("total")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert telemetry.total("answered") == sum(telemetry.minutes("answered")) == 1200
    assert telemetry.failures()[0].count == 1200
