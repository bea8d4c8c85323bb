"""Tables of the collected data: append-only Parquet files, each recorded in the snapshot with its digest."""

from collections.abc import Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.data.snapshot import Shard
from pipelines.errors import SnapshotError
from pipelines.files import write_atomically

ROWS_PER_FILE = 1000


def write_table(
    root: Path, folder: Path, snapshot: str, table: pa.Table, first: int = 0
) -> tuple[Shard, ...]:
    """Write rows to new files under `folder`, named after the snapshot that they come with.

    `first` is the number of the first file; a table that is written piece by piece goes on counting.
    """
    starts = range(0, table.num_rows, ROWS_PER_FILE)
    return tuple(
        _write(root / folder / f"part-{snapshot}-{number}.parquet", table.slice(start, ROWS_PER_FILE))
        for number, start in enumerate(starts, first)
    )


def remove_leftovers(root: Path, folder: Path, shards: Sequence[Shard]) -> None:
    """Remove what a run that was cut off has written: files of a table that no snapshot names."""
    named = {shard.name for shard in shards}
    for path in (root / folder).glob("*part-*"):
        if path.name not in named and path.is_file():
            path.unlink()


def read_table(
    root: Path,
    folder: Path,
    shards: Sequence[Shard],
    schema: pa.Schema,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """The rows of all files, oldest first. A column that an older file lacks is null there.

    Raises:
        SnapshotError: a file is missing, or holds something else than what the snapshot recorded.
    """
    wanted = pa.schema([schema.field(name) for name in columns or schema.names])
    tables = [_read(root / folder / shard.name, shard, wanted) for shard in shards]
    return pa.concat_tables(tables) if tables else wanted.empty_table()


def _write(path: Path, table: pa.Table) -> Shard:
    buffer = BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    data = buffer.getvalue()
    write_atomically(path, data)
    return Shard(name=path.name, sha256=sha256(data).hexdigest(), rows=table.num_rows)


def _read(path: Path, shard: Shard, wanted: pa.Schema) -> pa.Table:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise SnapshotError(
            f"{path} is missing: get it with 'dvc pull {path.parent.relative_to(path.parents[2])}'."
        ) from error
    if sha256(data).hexdigest() != shard.sha256:
        raise SnapshotError(f"{path} was changed: shards are never edited. Restore it with 'dvc checkout'.")
    file = pq.ParquetFile(BytesIO(data))
    present = file.schema_arrow.names
    table = file.read(columns=[name for name in wanted.names if name in present])
    for field in wanted:
        if field.name not in present:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(wanted.names).cast(wanted)
