"""Shards: append-only Parquet files of masks, one row a region of an annotation."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import SnapshotError
from pipelines.files import sha256_of, write_atomically
from pipelines.snapshot import Shard, Snapshot

ROWS_PER_SHARD = 1000
FOLDER = Path("data/annotations")


@dataclass(frozen=True)
class Row:
    """One mask that a person gave, or the note that an annotation has none any more.

    rle: COCO run lengths (counts) of size (height, width). Empty in the only row of an annotation that was
    deleted, emptied or cancelled after its masks had been collected.
    meta: JSON with the provenance: which model proposed the mask, from how many clicks.
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


SCHEMA = pa.schema(
    [(name, pa.int64() if kind is int else pa.string()) for name, kind in Row.__annotations__.items()]
)


def write_shards(root: Path, snapshot: str, rows: Sequence[Row]) -> tuple[Shard, ...]:
    """Write `rows` to new files under `data/annotations`, named after the snapshot they come with."""
    parts = (rows[start : start + ROWS_PER_SHARD] for start in range(0, len(rows), ROWS_PER_SHARD))
    return tuple(
        _write(root / FOLDER / f"part-{snapshot}-{number}.parquet", part) for number, part in enumerate(parts)
    )


def read_rows(root: Path, snapshot: Snapshot, columns: Sequence[str] | None = None) -> pa.Table:
    """All rows of the snapshot, oldest shard first.

    Raises:
        SnapshotError: a shard is missing, or holds something else than what the snapshot recorded.
    """
    tables = [_read(root / FOLDER / shard.name, shard, columns) for shard in snapshot.shards]
    if tables:
        return pa.concat_tables(tables)
    return SCHEMA.empty_table().select(list(columns or SCHEMA.names))


def newest_masks(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that count: of each task the annotation written last, in its last version.

    An annotation whose last version is a retraction counts no more, so an older one of the task may.
    """
    version = rows.groupby(["project_id", "annotation_id"])["updated_at"].transform("max")
    current = rows[(rows["updated_at"] == version) & (rows["rle"] != "")]
    current = current.sort_values(["updated_at", "annotation_id"], kind="stable")
    last = current.groupby(["project_id", "task_id"])["annotation_id"].transform("last")
    kept = current[current["annotation_id"] == last]
    return kept.drop_duplicates(["project_id", "annotation_id", "region_id"], keep="last")


def _write(path: Path, rows: Sequence[Row]) -> Shard:
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=SCHEMA)
    buffer = BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_atomically(path, buffer.getvalue())
    return Shard(name=path.name, sha256=sha256_of(path), rows=len(rows))


def _read(path: Path, shard: Shard, columns: Sequence[str] | None) -> pa.Table:
    if not path.is_file():
        raise SnapshotError(f"{path} is missing: get it with 'dvc pull data/annotations'.")
    if sha256_of(path) != shard.sha256:
        raise SnapshotError(f"{path} was changed: shards are never edited. Restore it with 'dvc checkout'.")
    return pq.read_table(path, columns=list(columns) if columns else None)
