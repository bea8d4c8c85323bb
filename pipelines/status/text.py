"""The status on one screen."""

from collections.abc import Iterator

from pipelines.clicks import click_table
from pipelines.promotion.changes import Standing, minute
from pipelines.promotion.version import Version
from pipelines.status.facts import Collected, Models, Runs, Status

DAYS = 7
"""Days of clicks that are shown."""
WAITING = 10


def to_text(status: Status) -> Iterator[str]:
    """Lines, of which those of a topic have its name before the first."""
    yield f"maskloop, {status.when:%Y-%m-%d %H:%M} UTC"
    for name, lines in _topics(status):
        for number, line in enumerate(lines):
            yield f"{'' if number else name:<10}{line}"


def _topics(status: Status) -> Iterator[tuple[str, list[str]]]:
    yield "data", list(_data(status))
    yield "retrain", list(_retrains(status.runs))
    yield "champion", list(_champion(status))
    yield "clicks", list(_clicks(status))
    waiting = [f"- {line}" for line in status.waiting()]
    if len(waiting) > WAITING:
        waiting[WAITING:] = [f"- and {len(waiting) - WAITING} more: --html FILE shows all"]
    yield "waiting", waiting or ["nothing waits for a person"]
    if status.silent:
        yield "unknown", [f"{name}: {reason}" for name, reason in status.silent.items()]


def _data(status: Status) -> Iterator[str]:
    if status.collected:
        yield data_line(status.collected)
    if status.project:
        project = status.project
        yield f"{project.annotated} of {project.tasks} tasks of {project.title!r} annotated in Label Studio"
    if not (status.collected or status.project):
        yield "unknown"


def data_line(collected: Collected) -> str:
    return (
        f"{len(collected.masks)} masks of {collected.annotations} annotations in {collected.tasks} tasks, "
        f"snapshot {collected.snapshot}; {collected.new} new since the last retrain"
    )


def _retrains(runs: Runs | None) -> Iterator[str]:
    if runs is None:
        yield "unknown"
    elif not runs.retrains:
        yield "none has run yet"
    else:
        last = runs.retrains[0]
        took = f" after {last.minutes:.1f} minutes" if last.minutes is not None else ""
        when = f"{last.start:%Y-%m-%d %H:%M}, " if last.start else ""
        yield f"{when}{last.state.lower()}{took}: {last.message or 'no message'}"
        if not runs.worker:
            yield "no worker is online: none would run"


def _champion(status: Status) -> Iterator[str]:
    models = status.models
    if models is None or models.champion is None:
        yield "unknown" if models is None else "none yet: the first retrain registers one"
        return
    yield f"{describe(models.champion)}{_since(models.standing)}"
    if models.standing.changes and models.standing.since:
        yield str(models.standing.changes[-1])
    if models.previous:
        yield f"before it {describe(models.previous)}, {models.outcome(models.previous)}"
    if status.served:
        yield f"the backend serves {status.served}"
    yield from _newest(models)


def _newest(models: Models) -> Iterator[str]:
    newest = models.versions[-1]
    if models.champion and newest.number > models.champion.number:
        decision = newest.tags.get("decision", "not judged")
        yield f"newest is {describe(newest)}, {models.outcome(newest)}: {decision}"


def describe(version: Version) -> str:
    noc = f", NoC@90 {float(version.tags['noc90']):.2f}" if "noc90" in version.tags else ""
    return f"version {version.number}{noc}"


def _since(standing: Standing) -> str:
    return f", serving since {minute(standing.since)}" if standing.since else ""


def _clicks(status: Status) -> Iterator[str]:
    if status.clicks is None:
        yield "unknown"
        return
    if status.clicks.masks.empty:
        yield "no mask that was kept came from clicks yet"
        return
    table = click_table(status.clicks, "day")
    known = table[table["masks"] > 0].tail(DAYS)
    for day, row in known.iterrows():
        drawn = f", {100 * row['share_edited']:.0f} % drawn on" if row["share_edited"] > 0 else ""
        yield f"{day}  {row['clicks_mean']:5.2f} a mask, {row['masks']:.0f} masks{drawn}"
