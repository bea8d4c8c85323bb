"""Findings: masks that must not train a model, and why, append-only beside the masks.

A finding is about one version of a mask. When the annotation is saved again, or marked as ground truth, the
mask is a new version and free of it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from pipelines.data.snapshot import Shard, Snapshot
from pipelines.data.tables import read_table, write_table

FOLDER = Path("data/findings")
KEY = ["annotation_id", "region_id", "updated_at"]
"""What tells one version of a mask from all others."""


@dataclass(frozen=True)
class Finding:
    """One mask that is set aside.

    reason: name of the check that found it.
    detail: what is wrong, in words for the person who mends it.
    value: what was measured, in the unit of the check.
    against: who or what the mask was compared with; empty where with nothing.
    other: COCO run lengths (counts) of the mask that it was compared with, of the same size.
    clicks: JSON [[row, col, positive as 1 or 0], ...], the clicks that `other` was answered to.
    """

    project_id: int
    task_id: int
    annotation_id: int
    region_id: str
    updated_at: str
    reason: str
    detail: str
    value: float
    against: str = ""
    other: str = ""
    clicks: str = "[]"


_TYPES = {int: pa.int64(), str: pa.string(), float: pa.float64()}
SCHEMA = pa.schema([(name, _TYPES[kind]) for name, kind in Finding.__annotations__.items()])


def write_findings(root: Path, snapshot: str, findings: Sequence[Finding]) -> tuple[Shard, ...]:
    """Write `findings` to new files under `data/findings`, named after the snapshot they come with."""
    return write_table(
        root, FOLDER, snapshot, pa.Table.from_pylist([asdict(finding) for finding in findings], schema=SCHEMA)
    )


def read_findings(root: Path, snapshot: Snapshot) -> pd.DataFrame:
    """All findings of the snapshot, oldest file first, those that were mended since too.

    Raises:
        SnapshotError: a file is missing, or holds something else than what the snapshot recorded.
    """
    return read_table(root, FOLDER, snapshot.findings, SCHEMA).to_pandas()


def without_findings(rows: pd.DataFrame, findings: pd.DataFrame) -> pd.DataFrame:
    """The rows that may train a model.

    Give it the rows before `newest_masks`: where an annotation is set aside, the task's next one counts.
    Older versions of what was set aside go too, as they would come back in its place.
    """
    if findings.empty:
        return rows
    flagged = pd.MultiIndex.from_frame(findings[KEY])
    newest = findings.groupby("annotation_id")["updated_at"].max()
    superseded = rows["updated_at"] < rows["annotation_id"].map(newest).fillna("")
    return rows[~(pd.MultiIndex.from_frame(rows[KEY]).isin(flagged) | superseded)]
