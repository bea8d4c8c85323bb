"""The snapshot: which shards make up the collected data, and how far collecting got.

`data/snapshot.json` is in git; the bytes that it names are under DVC. The cursor is in the same file, so it
moves with the commit of the data and never before.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pipelines.errors import SnapshotError

PATH = Path("data/snapshot.json")


@dataclass(frozen=True)
class Shard:
    """One file of a table under `data/`; it never changes once written."""

    name: str
    sha256: str
    rows: int


@dataclass(frozen=True)
class Snapshot:
    """State of the collected data.

    version: 0 before anything was collected, one more with every snapshot.
    cursor: newest `updated_at` of any task when collecting began; empty before anything was collected.
    masks: rows that carry a mask, over all shards.
    retry: tasks whose image could not be fetched, to be asked for again.
    splits: files of `data/split`, which say for good what images are trained on and what they test.
    findings: files of `data/findings`, masks that must not be trained on, and why.
    project: that was collected from last, 0 if it is not known.
    newest_task, tasks: highest number of a task when collecting began, and how many tasks there were; by
        these a later collect sees that some were deleted.
    annotations: how many there were then, cancelled ones aside; None if they were not counted.
    """

    version: int = 0
    cursor: str = ""
    masks: int = 0
    shards: tuple[Shard, ...] = ()
    retry: tuple[int, ...] = ()
    splits: tuple[Shard, ...] = ()
    findings: tuple[Shard, ...] = ()
    project: int = 0
    newest_task: int = 0
    tasks: int = 0
    annotations: int | None = None

    @property
    def name(self) -> str:
        return f"{self.version:04d}"


def read_snapshot(root: Path) -> Snapshot:
    """Read `data/snapshot.json` under `root`.

    Raises:
        SnapshotError: the file is missing or damaged.
    """
    path = root / PATH
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SnapshotError(
            f"{path} cannot be read: {error.strerror}. Restore it with 'git checkout'."
        ) from error
    return parse_snapshot(text)


def parse_snapshot(text: str) -> Snapshot:
    """The snapshot that `text` describes; SnapshotError when it describes none."""
    try:
        fields = json.loads(text)
        for name in ("shards", "splits", "findings"):
            if name == "shards" or name in fields:  # the first snapshots had no other tables
                fields[name] = tuple(Shard(**shard) for shard in fields[name])
        return Snapshot(**fields | {"retry": tuple(fields["retry"])})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SnapshotError(
            f"data/snapshot.json is damaged ({error!r}): restore it with 'git checkout'."
        ) from error


def write_snapshot(root: Path, snapshot: Snapshot) -> None:
    text = json.dumps(asdict(snapshot), indent=2) + "\n"
    (root / PATH).write_text(text, encoding="utf-8")
