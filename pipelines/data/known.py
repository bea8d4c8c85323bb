"""Known annotations: what was collected before, each in its last version."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from pipelines.data.shards import read_rows
from pipelines.data.snapshot import Snapshot

_COLUMNS = ("project_id", "task_id", "annotation_id", "updated_at", "ground_truth", "height")


@dataclass(frozen=True)
class Known:
    """An annotation as it was collected last. `kept`: it had masks, and was not withdrawn since."""

    updated_at: str
    ground_truth: bool
    kept: bool


class KnownAnnotations:
    """All that was collected of a project, by task. Of the shards it holds a few columns, and no mask."""

    def __init__(self, root: Path, snapshot: Snapshot, project: int) -> None:
        """Raises SnapshotError when a shard is missing, or holds something else than the snapshot says."""
        rows = read_rows(root, snapshot, _COLUMNS)
        rows = rows.filter(pc.equal(rows["project_id"], project))
        tasks = rows["task_id"].to_numpy()
        order = np.argsort(tasks, kind="stable")  # so that later rows of a task stay later
        self._tasks, self._rows = tasks[order], rows.take(order).combine_chunks()

    @property
    def tasks(self) -> set[int]:
        """Numbers of all tasks that something was collected from."""
        return set(np.unique(self._tasks).tolist())

    def kept(self, task: int) -> int:
        """How many annotations of a task have masks."""
        return sum(known.kept for known in self.of(task).values())

    def of(self, task: int) -> dict[int, Known]:
        """The annotations of a task by their numbers."""
        start, end = np.searchsorted(self._tasks, (task, task + 1))
        found: dict[int, Known] = {}
        for row in self._rows.slice(start, end - start).to_pylist():
            before = found.get(row["annotation_id"])
            if before is None or row["updated_at"] >= before.updated_at:
                # the note that masks were withdrawn is the only row without a size
                known = Known(row["updated_at"], row["ground_truth"], row["height"] > 0)
                found[row["annotation_id"]] = known
        return found
