"""Telemetry: how long clicks take and where, what became of them, and what went wrong last.

Prometheus reads the totals; the status page shows the last clicks, since a person asks how it is now.
"""

import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Lock
from typing import Literal, get_args

import prometheus_client as prometheus
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from ml_backend.redaction import Redaction

Stage = Literal["parse", "fetch", "queue", "prepare", "predict", "encode", "total"]
Outcome = Literal["answered", "nothing", "superseded", "rejected", "failed"]
STAGES: tuple[Stage, ...] = get_args(Stage)
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30)
RECENT = 200
MINUTES = 60
FAILURES = 50
_MAX_MESSAGE = 600


@dataclass(frozen=True)
class Failure:
    """An error as it was answered, and how often. `time` is of the last one, in seconds since 1970."""

    time: float
    path: str
    status: int
    message: str
    count: int = 1


@dataclass(frozen=True)
class Latency:
    """Percentiles of the last clicks, in seconds; 0 where there was none."""

    p50: float = 0.0
    p95: float = 0.0
    clicks: int = 0


@dataclass(frozen=True)
class Cache:
    """A cache: bytes it holds and may hold, and how often what was asked for was there."""

    name: str
    size: int
    capacity: int
    hits: int
    misses: int


class Telemetry:
    """Measures one service. Every method may be called from any thread."""

    def __init__(
        self,
        version: Callable[[], str],
        sha256: Callable[[], str] = str,
        since: Callable[[], float] | None = None,
        redaction: Redaction | None = None,
    ) -> None:
        """Start measuring.

        Args:
            version: of the model that is served.
            sha256: of its weights.
            since: when it began to be served, in seconds since 1970; None: now.
            redaction: takes secrets out of messages.
        """
        started = time.time()
        self.version, self.sha256, self.since = version, sha256, since or (lambda: started)
        self.registry = prometheus.CollectorRegistry()
        self.queue_length: Callable[[], int] = int
        self.queue_limit = 0
        self._redaction = redaction or Redaction()
        self._caches: dict[str, tuple[Callable[[], int], int]] = {}
        self._lock = Lock()
        self._recent: dict[Stage, deque[float]] = {stage: deque(maxlen=RECENT) for stage in STAGES}
        self._minutes: deque[tuple[int, Counter[Outcome]]] = deque(maxlen=MINUTES)
        self._failures: OrderedDict[tuple[int, str], Failure] = OrderedDict()
        self._seconds = self._histogram()
        self._outcomes = self._counter("clicks", "Clicks by what became of them.", "outcome")
        self._errors = self._counter("errors", "Errors answered, by HTTP status.", "status")
        self._lookups = self._counter("cache_lookups", "What caches were asked for.", "cache", "result")
        for outcome in OUTCOMES:  # a series that is there from the start shows its first increase
            self._outcomes.labels(outcome)
        self.registry.register(_Gauges(self))
        prometheus.ProcessCollector(registry=self.registry)

    @contextmanager
    def stage(self, name: Stage) -> Iterator[None]:
        """Time a block. One that raises is not counted: a click dropped early would pass for a fast one."""
        started = time.perf_counter()
        yield
        self.observe(name, time.perf_counter() - started)

    def observe(self, name: Stage, seconds: float) -> None:
        """Count a stage that was timed elsewhere."""
        self._seconds.labels(name).observe(seconds)
        with self._lock:
            self._recent[name].append(seconds)

    def counted(self, outcome: Outcome) -> None:
        """Count a click by what became of it."""
        self._outcomes.labels(outcome).inc()
        minute = int(time.time() // 60)
        with self._lock:
            if not self._minutes or self._minutes[-1][0] != minute:
                self._minutes.append((minute, Counter()))
            self._minutes[-1][1][outcome] += 1

    def cache(self, name: str, hit: bool) -> None:
        self._lookups.labels(name, "hit" if hit else "miss").inc()

    def failed(self, path: str, status: int, message: str) -> None:
        """Count an error and keep it for the status page. Errors of one status and message are one."""
        self._errors.labels(str(status)).inc()
        message = self._redaction(message)
        if len(message) > _MAX_MESSAGE:
            message = message[:_MAX_MESSAGE] + "…"
        failure = Failure(time.time(), self._redaction(path)[:100], status, message)
        with self._lock:
            earlier = self._failures.pop((status, message), None)
            count = 1 if earlier is None else earlier.count + 1
            self._failures[status, message] = replace(failure, count=count)
            if len(self._failures) > FAILURES:
                self._failures.popitem(last=False)

    def watch_queue(self, length: Callable[[], int], limit: int) -> None:
        """Show how many clicks wait, and how many may."""
        self.queue_length, self.queue_limit = length, limit

    def watch_cache(self, name: str, size: Callable[[], int], capacity: int) -> None:
        """Show how many bytes a cache holds, and how many it may."""
        self._caches[name] = (size, capacity)

    def render(self) -> tuple[bytes, str]:
        """All metrics in Prometheus' text format, and its content type."""
        return prometheus.generate_latest(self.registry), prometheus.CONTENT_TYPE_LATEST

    def recent(self, name: Stage) -> list[float]:
        """Seconds of the last clicks, the newest last."""
        with self._lock:
            return list(self._recent[name])

    def latency(self, name: Stage) -> Latency:
        seconds = sorted(self.recent(name))
        return Latency(_percentile(seconds, 50), _percentile(seconds, 95), len(seconds))

    def total(self, outcome: Outcome) -> int:
        """Clicks since the start."""
        return self._value("maskloop_clicks_total", outcome=outcome)

    def minutes(self, outcome: Outcome, count: int = MINUTES) -> list[int]:
        """Clicks in each of the last minutes, the one that runs last."""
        now = int(time.time() // 60)
        with self._lock:
            counts = {minute: counter[outcome] for minute, counter in self._minutes}
        return [counts.get(minute, 0) for minute in range(now - count + 1, now + 1)]

    def caches(self) -> list[Cache]:
        """Every cache that is watched."""
        return [
            Cache(
                name,
                size(),
                capacity,
                self._value("maskloop_cache_lookups_total", cache=name, result="hit"),
                self._value("maskloop_cache_lookups_total", cache=name, result="miss"),
            )
            for name, (size, capacity) in self._caches.items()
        ]

    def failures(self) -> list[Failure]:
        """The last errors, the newest first."""
        with self._lock:
            return list(reversed(self._failures.values()))

    def memory(self) -> int:
        """Resident bytes of this process; 0 where the system does not tell."""
        return self._value("process_resident_memory_bytes")

    def _value(self, metric: str, **labels: str) -> int:
        return int(self.registry.get_sample_value(metric, labels) or 0)

    def _histogram(self) -> prometheus.Histogram:
        histogram = prometheus.Histogram(
            "maskloop_stage_seconds",
            "Seconds of a click by stage; total is all of them and what lies between.",
            ["stage"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        for stage in STAGES:
            histogram.labels(stage)
        return histogram

    def _counter(self, name: str, text: str, *labels: str) -> prometheus.Counter:
        return prometheus.Counter(f"maskloop_{name}", text, labels, registry=self.registry)


class _Gauges(Collector):
    """What is asked for when Prometheus asks."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def collect(self) -> Iterator[Metric]:
        telemetry = self._telemetry
        yield InfoMetricFamily(
            "maskloop_model",
            "The model that is served.",
            value={"version": telemetry.version(), "sha256": telemetry.sha256()},
        )
        yield GaugeMetricFamily(
            "maskloop_model_served_seconds",
            "Seconds since the model is served.",
            value=time.time() - telemetry.since(),
        )
        yield GaugeMetricFamily("maskloop_queue_length", "Clicks that wait.", value=telemetry.queue_length())
        size = GaugeMetricFamily("maskloop_cache_bytes", "Bytes in a cache.", labels=["cache"])
        capacity = GaugeMetricFamily("maskloop_cache_capacity_bytes", "Its bound.", labels=["cache"])
        for name, (held, bound) in telemetry._caches.items():
            size.add_metric([name], held())
            capacity.add_metric([name], bound)
        yield from (size, capacity)


def _percentile(ordered: list[float], percent: int) -> float:
    """The nearest rank: the least value that so many percent do not exceed."""
    return ordered[-(-len(ordered) * percent // 100) - 1] if ordered else 0.0
