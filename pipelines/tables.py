"""Tables of the collected data: append-only Parquet files, each recorded in the snapshot with its digest."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import SnapshotError
from pipelines.files import sha256_of, write_atomically
from pipelines.snapshot import Shard

ROWS_PER_FILE = 1000


def write_table(root: Path, folder: Path, snapshot: str, table: pa.Table) -> tuple[Shard, ...]:
    """Write rows to new files under `folder`, named after the snapshot that they come with."""
    starts = range(0, table.num_rows, ROWS_PER_FILE)
    return tuple(
        _write(root / folder / f"part-{snapshot}-{number}.parquet", table.slice(start, ROWS_PER_FILE))
        for number, start in enumerate(starts)
    )


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
    write_atomically(path, buffer.getvalue())
    return Shard(name=path.name, sha256=sha256_of(path), rows=table.num_rows)


def _read(path: Path, shard: Shard, wanted: pa.Schema) -> pa.Table:
    if not path.is_file():
        raise SnapshotError(
            f"{path} is missing: get it with 'dvc pull {path.parent.relative_to(path.parents[2])}'."
        )
    if sha256_of(path) != shard.sha256:
        raise SnapshotError(f"{path} was changed: shards are never edited. Restore it with 'dvc checkout'.")
    present = pq.read_schema(path).names
    table = pq.read_table(path, columns=[name for name in wanted.names if name in present])
    for field in wanted:
        if field.name not in present:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(wanted.names).cast(wanted)
