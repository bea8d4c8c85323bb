"""Prepared sets: Parquet files of encoded images with their objects, written a few images at a time."""

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

CLICK = pa.struct([("row", pa.float64()), ("col", pa.float64()), ("positive", pa.bool_())])
OBJECT = pa.struct(
    [
        ("rle", pa.string()),
        ("category", pa.string()),
        ("area", pa.int64()),
        ("clicks", pa.list_(CLICK)),
    ]
)
SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("source", pa.string()),
        ("split", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("image", pa.binary()),
        ("objects", pa.list_(OBJECT)),
    ]
)
ROWS_PER_GROUP = 100
BYTES_PER_GROUP = 1 << 25
"""Encoded images that are held before they are written."""


@dataclass(frozen=True)
class Picture:
    """One row to be: an encoded image and its objects as COCO run lengths of (height, width)."""

    name: str
    source: str
    data: bytes
    height: int
    width: int
    objects: list[dict[str, Any]]

    @property
    def digest(self) -> str:
        return sha256(self.data).hexdigest()


@dataclass
class PreparedSet:
    """A Parquet file that pictures are added to; used in a `with` statement. Counts what it got."""

    path: Path
    split: str
    images: int = 0
    objects: int = 0
    sources: dict[str, int] = field(default_factory=dict)
    _rows: list[dict[str, Any]] = field(default_factory=list)
    _bytes: int = 0

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)  # it may be a link into the cache of DVC
        self._writer = pq.ParquetWriter(self.path, SCHEMA, compression="zstd")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def add(self, picture: Picture) -> None:
        self._rows.append(_row(picture, self.split))
        self._bytes += len(picture.data)
        self.images += 1
        self.objects += len(picture.objects)
        self.sources[picture.source] = self.sources.get(picture.source, 0) + 1
        if len(self._rows) >= ROWS_PER_GROUP or self._bytes >= BYTES_PER_GROUP:
            self._flush()

    def summary(self) -> dict[str, Any]:
        return {"images": self.images, "objects": self.objects, "sources": dict(sorted(self.sources.items()))}

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=SCHEMA))
        self._rows, self._bytes = [], 0


def _row(picture: Picture, split: str) -> dict[str, Any]:
    return {
        "image_id": picture.name,
        "source": picture.source,
        "split": split,
        "height": picture.height,
        "width": picture.width,
        "image": picture.data,
        "objects": picture.objects,
    }
