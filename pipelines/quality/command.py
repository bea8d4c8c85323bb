"""Looking again at everything that was collected: what `maskloop quality` does."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipelines.data.findings import SCHEMA, read_findings
from pipelines.data.shards import read_rows
from pipelines.data.snapshot import Snapshot, read_snapshot
from pipelines.errors import SnapshotError
from pipelines.quality.config import QualityConfig
from pipelines.quality.contradiction import Judge
from pipelines.quality.page import write_findings_page
from pipelines.quality.review import Review, open_findings, record, review
from pipelines.versioning import SNAPSHOT_BRANCH, Worktree, branch_commit, open_worktree


@dataclass(frozen=True)
class Looked:
    """What a look at everything found.

    review: what is new.
    findings: all that wait for a person, recorded or new; see `open_findings`.
    files: the table and the page.
    """

    snapshot: Snapshot
    review: Review
    findings: pd.DataFrame
    files: tuple[Path, ...]


def look_again(
    root: Path, config: QualityConfig, judge: Judge | None, keep: bool, out: Path, label_studio: str = ""
) -> Looked:
    """Review all masks of the newest snapshot, and write table and page of all that wait.

    Args:
        root: the repository that retrains; the data is that of its branch `maskloop/snapshot`.
        config: the thresholds.
        judge: the model that is asked; None: none is.
        keep: commit what is found as a snapshot, so that it trains no model.
        out: folder of table and page.
        label_studio: its address, for links.

    Raises:
        CommandError: `root` is no git repository, or a retrain moved the snapshot meanwhile.
        SnapshotError: nothing was collected yet, or data is missing.
    """
    with _newest_data(root) as (path, worktree):
        snapshot = read_snapshot(path)
        if not snapshot.shards:
            raise SnapshotError("Nothing was collected yet: a retrain does, once something is labelled.")
        done = review(path, snapshot, config, judge)
        found = pd.DataFrame.from_records([vars(finding) for finding in done.findings], columns=SCHEMA.names)
        known = read_findings(path, snapshot)
        everything = pd.concat([known, found]) if len(known) else found
        waiting = open_findings(read_rows(path, snapshot).to_pandas(), everything)
        files = write_findings_page(waiting, done.agreement, path, out, label_studio)
        if keep and done.findings:
            if worktree is None:
                raise SnapshotError(f"{root} has no branch {SNAPSHOT_BRANCH}: a retrain makes it.")
            snapshot = record(path, snapshot, done.findings)
            worktree.commit_snapshot(snapshot)
    return Looked(snapshot, done, waiting, files)


@contextmanager
def _newest_data(root: Path) -> Iterator[tuple[Path, Worktree | None]]:
    """A worktree with the newest snapshot; where no retrain made one yet, the folder as it is."""
    if not branch_commit(root, SNAPSHOT_BRANCH):
        yield root, None
        return
    with open_worktree(root, f"quality-{uuid.uuid4().hex[:8]}", lambda line: None) as worktree:
        yield worktree.path, worktree
