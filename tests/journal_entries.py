"""Entries for tests of the click journal."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from maskloop.clicks import Click
from maskloop.journal import Entry

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)

ENTRY = Entry(
    time=NOON,
    project=3,
    task=7,
    region="a1b2c3d4e5f60718",
    refined=False,
    label="Cell",
    shape="brush",
    clicks=(Click(10.25, 20.5), Click(11, 4, positive=False)),
    box=(1, 2, 30, 40),
    height=48,
    width=64,
    image_sha256="1a" * 32,
    mask_sha256="3a" * 32,
    area=120,
    iou=0.875,
    model="maskloop-v2",
    weights_sha256="d1" * 32,
    milliseconds=41.2,
    predict_milliseconds=30.1,
    outcome="mask",
)


def entry(minutes: float = 0, **values) -> Entry:
    """An entry some minutes after noon."""
    return replace(ENTRY, time=NOON + timedelta(minutes=minutes), **values)
