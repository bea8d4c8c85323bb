"""Joining: what the journal says was answered with what people kept of it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from maskloop.journal import Entry, mask_sha256
from maskloop.masks import decode_coco
from pipelines.clicks.sessions import Session, follow_sessions
from pipelines.clicks.trails import follow_trail

PATIENCE = timedelta(days=1)
"""A session whose task was not submitted for this long counts as given up."""

ROW_COLUMNS = ("task_id", "region_id", "updated_at", "label", "height", "width", "rle", "meta")
"""What is needed of the shards."""

Region = tuple[int, str]
"""Task and id of a region."""

_MASKS = ["time", "project", "task", "region", "label", "model", "clicks", "refined", "edited"]
_SESSIONS = ["time", "project", "task", "label", "model", "requests", "clicks", "outcome"]
_REQUESTS = ["time", "label", "model", "outcome", "milliseconds", "predict_milliseconds"]


@dataclass(frozen=True)
class Clicks:
    """Three tables, each in the order of time.

    masks: one row a mask that was kept. `clicks` counts the prompts of all sessions that led to it, a box as
        one; `refined`: it was corrected by clicks after it had been there; `edited`: the mask kept is not the
        mask answered, so somebody drew on it. `model` gave the answer, `label` is the one kept.
    sessions: one row a session; `outcome` is kept, given up, or pending while the task may be submitted.
    requests: one row a request.
    unknown: masks kept of which a model's clicks are told, but not by this journal.
    """

    masks: pd.DataFrame
    sessions: pd.DataFrame
    requests: pd.DataFrame
    unknown: int


@dataclass(frozen=True)
class _Kept:
    """A region as it was saved last. `suggested`: it carries what our service writes into a region."""

    label: str
    height: int
    width: int
    rle: str
    suggested: bool

    def sha256(self) -> str:
        return mask_sha256(decode_coco({"size": [self.height, self.width], "counts": self.rle}))


def join_clicks(entries: Sequence[Entry], rows: pd.DataFrame) -> Clicks:
    """Find out which masks of the journal were kept, and from how many clicks.

    Args:
        entries: of the journal.
        rows: of all shards, with at least `ROW_COLUMNS`; a region counts as it was saved last.
    """
    kept = _kept(rows)
    sessions = follow_sessions(entries)
    answered: dict[Region, list[Session]] = {}
    for session in sessions:
        for region in dict.fromkeys(_regions(session)):
            if region in kept:
                answered.setdefault(region, []).append(session)
    masks, led_to_mask = [], set()
    for region, candidates in answered.items():
        mask, contributing = _mask_row(region, kept[region], candidates)
        masks.append(mask)
        led_to_mask |= {id(session) for session in contributing}
    deadlines = _deadlines(entries, rows)
    return Clicks(
        masks=_frame(masks, _MASKS),
        sessions=_frame(
            [_session_row(session, id(session) in led_to_mask, deadlines) for session in sessions], _SESSIONS
        ),
        requests=_frame([_request_row(entry) for entry in entries], _REQUESTS),
        unknown=sum(1 for region, mask in kept.items() if mask.suggested and region not in answered),
    )


def _kept(rows: pd.DataFrame) -> dict[Region, _Kept]:
    """Every region that was saved, as it was saved last, also one that was deleted later."""
    saved = rows[rows["rle"] != ""].sort_values("updated_at", kind="stable")
    columns = saved[["task_id", "region_id", "label", "height", "width", "rle", "meta"]]
    return {
        (int(task), region): _Kept(label, int(height), int(width), rle, "prompts" in _provenance(meta))
        for task, region, label, height, width, rle, meta in columns.itertuples(index=False)
    }


def _provenance(meta: str) -> dict[str, Any]:
    """What the service wrote into a region; people may write there, too."""
    provenance = json.loads(meta).get("meta")
    return provenance if isinstance(provenance, dict) else {}


def _regions(session: Session) -> Iterator[Region]:
    for entry in session:
        if entry.task is not None and entry.region is not None:
            yield entry.task, entry.region


def _mask_row(
    region: Region, kept: _Kept, sessions: Sequence[Session]
) -> tuple[dict[str, Any], list[Session]]:
    """The row of a mask, and the sessions that led to it. Each of `sessions` answered with the region."""
    trail = follow_trail(region[1], kept.sha256(), sessions)
    taken = trail.taken
    row = {
        "time": taken.time,
        "project": taken.project,
        "task": taken.task,
        "region": taken.region,
        "label": kept.label or taken.label or "",
        "model": taken.model,
        "clicks": sum(step.prompts for step in trail.steps.values()),
        "refined": taken.refined,
        "edited": trail.edited,
    }
    return row, [sessions[number] for number in trail.steps]


@dataclass(frozen=True)
class _Deadlines:
    """What tells whether a mask may still be kept: when tasks were submitted last, and how late it is."""

    submitted: dict[int, datetime]
    now: datetime

    def passed(self, entry: Entry) -> bool:
        if self.now - entry.time > PATIENCE:
            return True
        return entry.task in self.submitted and self.submitted[entry.task] >= entry.time


def _deadlines(entries: Sequence[Entry], rows: pd.DataFrame) -> _Deadlines:
    newest = rows.sort_values("updated_at")[["task_id", "updated_at"]]
    submitted = {int(task): datetime.fromisoformat(time) for task, time in newest.itertuples(index=False)}
    times = [*submitted.values(), *(entry.time for entry in entries)]
    return _Deadlines(submitted, max(times, default=datetime.min.replace(tzinfo=UTC)))


def _session_row(session: Session, is_kept: bool, deadlines: _Deadlines) -> dict[str, Any]:
    first, last = session[0], session[-1]
    given_up = "given up" if deadlines.passed(last) else "pending"
    return {
        "time": first.time,
        "project": last.project,
        "task": last.task,
        "label": last.label or "",
        "model": last.model,
        "requests": len(session),
        "clicks": last.prompts,
        "outcome": "kept" if is_kept else given_up,
    }


def _request_row(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in _REQUESTS} | {"label": entry.label or ""}


def _frame(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows), columns=list(columns))
    frame["time"] = pd.to_datetime(frame["time"], utc=True)
    return frame.sort_values("time", kind="stable", ignore_index=True)
