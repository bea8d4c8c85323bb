"""The masks that were kept: all rows of the newest snapshot, wherever its bytes are."""

import uuid
from pathlib import Path

import pandas as pd

from pipelines.clicks.joining import ROW_COLUMNS
from pipelines.data.shards import read_rows
from pipelines.data.snapshot import read_snapshot
from pipelines.versioning import SNAPSHOT_BRANCH, branch_commit, open_worktree


def read_masks(root: Path) -> pd.DataFrame:
    """The rows of the newest snapshot of a repository, with the columns that joining needs.

    They are taken from the branch `maskloop/snapshot` and the DVC cache; where nothing was collected by a
    retrain yet, from the folder as it is.

    Raises:
        CommandError: `root` is no git repository.
        SnapshotError: the snapshot's data is missing.
    """
    root = root.resolve()
    if not branch_commit(root, SNAPSHOT_BRANCH):
        return snapshot_masks(root)
    with open_worktree(root, f"clicks-{uuid.uuid4().hex[:8]}", _silent) as worktree:
        return snapshot_masks(worktree.path)


def snapshot_masks(root: Path) -> pd.DataFrame:
    """The rows of the snapshot that a checkout holds.

    Raises:
        SnapshotError: a shard is missing or was changed.
    """
    frame: pd.DataFrame = read_rows(root, read_snapshot(root), ROW_COLUMNS).to_pandas()
    return frame


def _silent(line: str) -> None:
    """Git and DVC talk about files that nobody asked for."""
