"""Backlog: how many masks wait to be trained on, as Label Studio tells, without collecting them.

A trigger is only a hint, so every run begins with this question. It costs one request and no worktree, in
proportion to what changed; it never says less than collecting would find, but may count masks of the last
seconds twice.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from pipelines.label_studio.project import OVERLAP, Task, format_time, parse_time
from pipelines.versioning import SNAPSHOT_BRANCH, masks_trained, snapshot_of


class Changes(Protocol):
    """What is asked of Label Studio."""

    def changed_tasks(self, cursor: str) -> Iterator[Task]: ...


def masks_waiting(project: Changes, root: Path) -> int:
    """Masks that are collected but not trained on, and masks that are not even collected.

    Tasks whose image could not be fetched count as one mask each: what they hold is asked for again.

    Raises:
        LabelStudioError: Label Studio does not answer.
    """
    snapshot = snapshot_of(root, SNAPSHOT_BRANCH)
    since = format_time(parse_time(snapshot.cursor) - OVERLAP) if snapshot.cursor else ""
    new = sum(_masks(task.annotations, since) for task in project.changed_tasks(snapshot.cursor))
    return snapshot.masks - masks_trained(root) + len(snapshot.retry) + new


def _masks(annotations: Iterable[dict[str, Any]], since: str) -> int:
    """Regions of the annotations written after `since`, each once: the click beside a mask shares its id."""
    return sum(
        len({result.get("id") for result in annotation.get("result") or []})
        for annotation in annotations
        if str(annotation.get("updated_at", "")) > since and not annotation.get("was_cancelled")
    )
