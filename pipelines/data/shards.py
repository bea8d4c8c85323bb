"""Shards: the table of masks, one row a region of an annotation, append-only."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import pandas as pd
import pyarrow as pa

from pipelines.data.snapshot import Shard, Snapshot
from pipelines.data.tables import ROWS_PER_FILE, read_table, write_table

FOLDER = Path("data/annotations")


@dataclass(frozen=True)
class Row:
    """One mask that a person gave, or the note that an annotation has none any more.

    rle: COCO run lengths (counts) of size (height, width). Empty in the only row of an annotation that was
    deleted, emptied or cancelled after its masks had been collected.
    meta: JSON with the provenance as it came.
    ground_truth: somebody marked the annotation with a star: it counts before later ones.
    model: version of the model that suggested the mask; empty for one drawn by hand.
    prompts: clicks and boxes that the suggestion took, as it says itself.
    changed: by how much the person changed the suggestion, 1 - IoU; NaN where it is not known.
    clicks: JSON [[row, col, positive as 1 or 0], ...], the clicks that led to the mask, as the journal has
        them, in the order they were made.
    """

    project_id: int
    task_id: int
    annotation_id: int
    region_id: str
    updated_at: str
    annotator: int
    label: str
    height: int
    width: int
    rle: str
    image_sha256: str
    meta: str
    ground_truth: bool = False
    model: str = ""
    prompts: int = 0
    changed: float = math.nan
    clicks: str = "[]"


_TYPES = {int: pa.int64(), str: pa.string(), bool: pa.bool_(), float: pa.float64()}
SCHEMA = pa.schema([(name, _TYPES[kind]) for name, kind in Row.__annotations__.items()])
_DEFAULTS = {"ground_truth": False, "model": "", "prompts": 0, "changed": math.nan, "clicks": "[]"}


def write_shards(root: Path, snapshot: str, rows: Iterable[Row]) -> tuple[Shard, ...]:
    """Write `rows` to new files under `data/annotations`, named after the snapshot they come with.

    No more rows than one file's are in memory at a time.
    """
    shards: list[Shard] = []
    remaining = iter(rows)
    while part := list(islice(remaining, ROWS_PER_FILE)):
        table = pa.Table.from_pylist([asdict(row) for row in part], schema=SCHEMA)
        shards += write_table(root, FOLDER, snapshot, table, first=len(shards))
    return tuple(shards)


def read_rows(root: Path, snapshot: Snapshot, columns: Sequence[str] | None = None) -> pa.Table:
    """All rows of the snapshot, oldest shard first.

    Raises:
        SnapshotError: a shard is missing, or holds something else than what the snapshot recorded.
    """
    table = read_table(root, FOLDER, snapshot.shards, SCHEMA, columns)
    for number, name in enumerate(table.column_names):
        if name in _DEFAULTS:  # shards of before these were collected
            table = table.set_column(number, SCHEMA.field(name), table[name].fill_null(_DEFAULTS[name]))
    return table


def newest_masks(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that count: of each task one annotation, in its last version.

    It is the one marked as ground truth, and among several of either kind the one written last. An annotation
    whose last version is a retraction counts no more, so another one of the task may.
    """
    # the task is part of the key: with SQLite, an import gives numbers of deleted annotations again
    version = rows.groupby(["project_id", "task_id", "annotation_id"])["updated_at"].transform("max")
    current = rows[(rows["updated_at"] == version) & (rows["rle"] != "")]
    # a mark may be taken away without a new version
    current = current.drop_duplicates(["project_id", "task_id", "annotation_id", "region_id"], keep="last")
    ranked = current.sort_values(["ground_truth", "updated_at", "annotation_id"], kind="stable")
    first = ranked.groupby(["project_id", "task_id"])["annotation_id"].transform("last")
    kept: pd.DataFrame = ranked[ranked["annotation_id"] == first]
    return kept.sort_values(["updated_at", "annotation_id"], kind="stable")
