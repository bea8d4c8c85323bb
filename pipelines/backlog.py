"""Backlog: how many masks wait to be trained on, as Label Studio tells, without collecting them.

A trigger is only a hint, so every run begins with this question. It costs a few requests and no worktree, in
proportion to what changed; it may count masks of the last seconds twice. It says less than collecting would
find only of what was saved while Label Studio's clock was behind: of that it knows the annotations alone.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from pipelines.label_studio.project import OVERLAP, Survey, Task, format_time, parse_time
from pipelines.versioning import SNAPSHOT_BRANCH, masks_trained, snapshot_of


class Changes(Protocol):
    """What is asked of Label Studio."""

    def survey(self, number: int) -> Survey: ...
    def changed_tasks(self, cursor: str) -> Iterator[Task]: ...


def masks_waiting(project: Changes, root: Path) -> int:
    """Masks that are collected but not trained on, and masks that are not even collected.

    Tasks whose image could not be fetched count as one mask each: what they hold is asked for again. So do
    annotations whose time is before the cursor, of which Label Studio tells no more than that there are some.

    Raises:
        LabelStudioError: Label Studio does not answer.
    """
    snapshot = snapshot_of(root, SNAPSHOT_BRANCH)
    since = format_time(parse_time(snapshot.cursor) - OVERLAP) if snapshot.cursor else ""
    annotations = project.survey(0).annotations  # first: what is added meanwhile is among the changed tasks
    new = added = 0
    for task in project.changed_tasks(snapshot.cursor):
        new += _masks(task.annotations, since)
        added += task.added(snapshot.cursor)
    before = annotations if snapshot.annotations is None else snapshot.annotations
    unseen = max(0, annotations - before - added)
    return snapshot.masks - masks_trained(root) + len(snapshot.retry) + new + unseen


def _masks(annotations: Iterable[dict[str, Any]], since: str) -> int:
    """Regions of the annotations written after `since`, each once: the click beside a mask shares its id."""
    return sum(
        len({result.get("id") for result in annotation.get("result") or []})
        for annotation in annotations
        if str(annotation.get("updated_at", "")) > since and not annotation.get("was_cancelled")
    )
