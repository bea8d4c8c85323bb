"""Facts: what each source says of the loop at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import pandas as pd

from pipelines.clicks import Clicks
from pipelines.label_studio.checks import Finding
from pipelines.promotion.changes import Standing
from pipelines.promotion.verdicts import Verdict
from pipelines.promotion.version import Version


@dataclass(frozen=True)
class Collected:
    """What the repository holds.

    masks: one row each that counts, with project_id, task_id, annotation_id, region_id, updated_at, label.
    new: masks collected since the last retrain that came to a decision.
    aside: masks set aside by reason, with their number.
    """

    snapshot: str
    masks: pd.DataFrame
    new: int
    aside: Mapping[str, int] = field(default_factory=dict)

    @property
    def annotations(self) -> int:
        return len(self.masks[["project_id", "annotation_id"]].drop_duplicates())

    @property
    def tasks(self) -> int:
        return len(self.masks[["project_id", "task_id"]].drop_duplicates())


@dataclass(frozen=True)
class Models:
    """What MLflow holds: all versions, oldest first, and who serves since when.

    measured: by version, NoC@90 of it and of the champion of then, on the same objects.
    """

    versions: tuple[Version, ...]
    standing: Standing
    measured: Mapping[int, tuple[float, float]] = field(default_factory=dict)

    def version(self, number: int) -> Version | None:
        return next((one for one in self.versions if one.number == number), None)

    @property
    def champion(self) -> Version | None:
        return self.version(self.standing.champion)

    @property
    def previous(self) -> Version | None:
        """The version that served before the champion."""
        last = self.standing.changes[-1] if self.standing.changes else None
        known = last.before if last and last.after == self.standing.champion else self.standing.replaced()
        return self.version(known)

    @property
    def challenger(self) -> Version | None:
        """The newest version, unless it has served."""
        newest = self.version(self.standing.aliases.get("challenger", 0))
        return None if newest is None or self.standing.has_served(newest.number) else newest

    def outcome(self, version: Version) -> str:
        """What came of a version, in a word or two."""
        if version.number == self.standing.champion:
            return "serves"
        if self.standing.rolled_back(version.number):
            return "rolled back"
        if self.standing.has_served(version.number):
            return "served"
        verdict = Verdict.of(version)
        if not verdict.judged:
            return "not judged"
        return "may serve" if verdict.promote else "kept back"


@dataclass(frozen=True)
class FlowRun:
    """A run of the retrain flow. `state` is Prefect's name of it; times are None before they happen."""

    name: str
    state: str
    message: str
    start: datetime | None
    end: datetime | None

    @property
    def minutes(self) -> float | None:
        return (self.end - self.start).total_seconds() / 60 if self.start and self.end else None


@dataclass(frozen=True)
class Runs:
    """What Prefect says: runs of the retrain flow, the newest first, and whether a worker is there."""

    retrains: tuple[FlowRun, ...]
    worker: bool


@dataclass(frozen=True)
class Project:
    """What Label Studio says of the project."""

    title: str
    tasks: int
    annotated: int


@dataclass(frozen=True)
class Status:
    """Everything; None is what a source did not tell. `silent`: sources that did not answer, and why."""

    when: datetime
    collected: Collected | None = None
    models: Models | None = None
    runs: Runs | None = None
    project: Project | None = None
    served: str | None = None
    clicks: Clicks | None = None
    hints: tuple[Finding, ...] = ()
    silent: Mapping[str, str] = field(default_factory=dict)

    def waiting(self) -> list[str]:
        """What a person should look at, and how."""
        return [*self._masks_aside(), *self._versions(), *self._lost_runs(), *self._hints()]

    def _masks_aside(self) -> list[str]:
        if not (self.collected and self.collected.aside):
            return []
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.collected.aside.items())
        total = sum(self.collected.aside.values())
        return [f"{total} masks are set aside ({reasons}): mend or confirm them in Label Studio"]

    def _versions(self) -> list[str]:
        if self.models is None:
            return []
        waiting = []
        challenger, champion = self.models.challenger, self.models.champion
        if challenger and self.models.outcome(challenger) == "kept back":
            waiting.append(
                f"version {challenger.number} was kept back, {Verdict.of(challenger).reason}: look at its "
                f"run in MLflow; `maskloop promote {challenger.number} --force` overrules the gate"
            )
        elif challenger and self.models.outcome(challenger) == "may serve":
            waiting.append(
                f"version {challenger.number} may serve, but its retrain was cut off before it did: "
                f"`maskloop promote {challenger.number}`"
            )
        if champion and self.served and self.served != champion.served_as:
            waiting.append(
                f"the backend serves {self.served}, the champion is {champion.served_as}: if that lasts, "
                "its log tells why"
            )
        return waiting

    def _lost_runs(self) -> list[str]:
        """Runs that ended badly after the last good one, and runs that nobody works on."""
        waiting = []
        for run in self.runs.retrains if self.runs else ():
            if run.state == "Completed":
                break
            if run.state in ("Failed", "Crashed", "TimedOut"):
                waiting.append(
                    f"retrain {run.name} {run.state.lower()} ({_first_line(run.message)}): what it collected "
                    "is kept; start another with `prefect deployment run retrain/retrain`"
                )
            elif self.runs and not self.runs.worker:
                waiting.append(
                    f"retrain {run.name} is {run.state.lower()}, and no worker is online: start one"
                )
        return waiting

    def _hints(self) -> list[str]:
        return [f"{hint.name}: {hint.detail}" for hint in self.hints]


def _first_line(message: str) -> str:
    line = message.strip().splitlines()[0] if message.strip() else "no message"
    return line if len(line) <= 120 else f"{line[:119]}…"
