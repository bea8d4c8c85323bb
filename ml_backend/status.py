"""The status page: what is served since when, how fast, and what went wrong, for a person.

Label Studio shows its users nothing when a backend fails, so this is where they look. The page needs nothing
else, runs no script, asks for itself every few seconds, and escapes what it is given.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from ml_backend.readiness import Readiness
from ml_backend.redaction import Redaction
from ml_backend.settings import Settings
from ml_backend.telemetry import OUTCOMES, STAGES, Outcome, Stage, Telemetry

REFRESH_SECONDS = 10
_STAGES: dict[Stage, str] = {
    "parse": "read the request",
    "fetch": "get the image",
    "queue": "wait for the network",
    "prepare": "look at a new image",
    "predict": "run the network",
    "encode": "write the mask",
    "total": "the whole click",
}
_OUTCOMES: dict[Outcome, str] = {
    "answered": "answered with a mask",
    "nothing": "nothing to show",
    "superseded": "superseded by a newer click",
    "rejected": "turned away, queue full",
    "failed": "failed",
}
_MINUTES = 30


@dataclass(frozen=True)
class Bar:
    """A bar of a chart whose plane is 100 high: where it begins, how high it is, and what it says."""

    x: float
    height: float
    text: str


def status_page(telemetry: Telemetry, readiness: Readiness, settings: Settings, protocol: str) -> str:
    """The page as HTML.

    Args:
        telemetry: what was measured.
        readiness: whether clicks are answered, and why not.
        settings: what the service was told; of secrets only whether they are set.
        protocol: name of the inference protocol of the model that is served.
    """
    now = time.time()
    counts = _counts(telemetry)
    seconds = telemetry.recent("total")
    return _template().render(
        refresh=REFRESH_SECONDS,
        now=_clock(now),
        readiness=readiness,
        version=telemetry.version(),
        sha256=telemetry.sha256(),
        protocol=protocol,
        since=_clock(telemetry.since()),
        served_for=_duration(now - telemetry.since()),
        total=telemetry.latency("total"),
        stages=[(name, _STAGES[name], telemetry.latency(name)) for name in STAGES],
        latencies=_bars(seconds, [_milliseconds(second) for second in seconds]),
        slowest=max(seconds, default=0.0),
        outcomes=[
            (text, sum(telemetry.minutes(name, 5)), sum(telemetry.minutes(name)), telemetry.total(name))
            for name, text in _OUTCOMES.items()
        ],
        minutes=_minutes(counts),
        busiest=max(counts),
        caches=telemetry.caches(),
        queue=(telemetry.queue_length(), telemetry.queue_limit),
        memory=telemetry.memory(),
        failures=[
            (failure, _phrase(failure.status), _clock(failure.time), _duration(now - failure.time))
            for failure in telemetry.failures()
        ],
        settings=_settings(settings),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"milliseconds": _milliseconds, "megabytes": _megabytes}
    return environment.get_template("status.html")


def _bars(values: Sequence[float], texts: Sequence[str]) -> list[Bar]:
    """One bar for each value, side by side, the highest 100 high and none invisible."""
    highest = max(values, default=0) or 1
    return [
        Bar(number, max(100 * value / highest, 1 if value else 0), text)
        for number, (value, text) in enumerate(zip(values, texts, strict=True))
    ]


def _counts(telemetry: Telemetry) -> list[int]:
    """Clicks of every outcome in each of the last minutes."""
    columns = zip(*(telemetry.minutes(name, _MINUTES) for name in OUTCOMES), strict=True)
    return [sum(column) for column in columns]


def _minutes(counts: Sequence[int]) -> list[Bar]:
    ages = range(len(counts) - 1, -1, -1)
    return _bars(counts, [f"{count} clicks, {age} min ago" for count, age in zip(counts, ages, strict=True)])


def _settings(settings: Settings) -> list[tuple[str, str]]:
    """Variables and their values, in the order of the class."""
    redact = Redaction.of(settings)
    rows = []
    for entry in fields(settings):
        value = getattr(settings, entry.name)
        if not entry.repr:
            text = "set" if value else "not set"
        elif value in ("", None, ()):
            text = "not set"
        else:
            text = redact(_text(value))
        rows.append((_variable(entry.name), text))
    return rows


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _variable(name: str) -> str:
    return "MASKLOOP_" + {"log_format": "LOG"}.get(name, name.upper())


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _duration(seconds: float) -> str:
    """A time span in its two largest units."""
    whole = max(int(seconds), 0)
    for unit, length, lesser, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= length:
            return f"{whole // length} {unit} {whole % length // part} {lesser}"
    return f"{whole} s"


def _milliseconds(seconds: float) -> str:
    milliseconds = seconds * 1000
    return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"


def _megabytes(size: int) -> str:
    return f"{size / 2**20:.0f} MB" if size >= 10 * 2**20 or not size else f"{size / 2**20:.1f} MB"
