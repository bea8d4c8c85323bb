"""Parquet shards: the form in which this project trains, and into which any dataset can be written.

One row an image: image_id, source, split, height, width, image (encoded), objects {rle, category, area}.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from io import BytesIO
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image as Picture

from maskloop.arrays import Image
from maskloop.datasets.samples import CACHED_IMAGES, Read, Sample, checked_sample, found, unknown_split
from maskloop.errors import DatasetError, ImageError, MaskError
from maskloop.images import decode_image
from maskloop.masks import decode_coco, encode_coco

COLUMNS = ["image_id", "split", "height", "width", "image", "objects"]
"""What a shard must have; with a column `source` its samples say where they are from."""
SCHEMA = pa.schema(
    {
        "image_id": pa.string(),
        "source": pa.string(),
        "split": pa.string(),
        "height": pa.int32(),
        "width": pa.int32(),
        "image": pa.binary(),
        "objects": pa.list_(pa.struct({"rle": pa.string(), "category": pa.string(), "area": pa.int64()})),
    }
)
ROWS_PER_SHARD = 2000
ROWS_PER_GROUP = 100
"""Images that are read from disk together."""
QUALITY = 95
"""Of the WebP images that are written."""


def open_parquet(root: Path, split: str | None) -> list[Read]:
    """One reader an object, of a shard or of a folder of them."""
    files = sorted(root.glob("*.parquet")) if root.is_dir() else [root]
    if not files or not files[0].is_file():
        raise DatasetError(
            f"{str(root)!r} is no Parquet shard, nor a folder with *.parquet in it. {found(root)}"
        )
    shards = [_Shard(file) for file in files]
    readers = [read for shard in shards for read in shard.readers(split)]
    if not readers:
        raise unknown_split(root, split, set().union(*(shard.splits() for shard in shards)))
    return readers


def write_parquet(samples: Iterable[Sample], folder: Path, source: str, split: str = "train") -> list[Path]:
    """Write samples as shards that `maskloop.corpus.Corpus` trains on, of 2,000 images each.

    Samples of one image must follow each other, as every reader gives them. Images are encoded anew, as WebP
    of quality 95. What a sample ignores counts as background, because shards do not hold it.

    Args:
        samples: of any dataset.
        folder: of the shards `<source>-00.parquet`, ...; made if it is not there.
        source: name of the dataset in the shards, by which training balances.
        split: written into every row.

    Returns:
        The shards.

    Raises:
        DatasetError: there are no samples, or the folder holds shards of this source already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.glob(f"{source}-*.parquet")):
        raise DatasetError(
            f"{str(folder)!r} holds shards of {source!r} already: delete them, or name another folder."
        )
    rows = _rows(samples, source, split)
    files: list[Path] = []
    while first := list(islice(rows, ROWS_PER_GROUP)):
        files.append(folder / f"{source}-{len(files):02d}.parquet")
        _write_shard(files[-1], first, rows)
    if not files:
        raise DatasetError(f"There is no sample to write to {str(folder)!r}.")
    return files


def _write_shard(file: Path, group: list[dict[str, Any]], rows: Iterator[dict[str, Any]]) -> None:
    """Write a group of rows and as many that follow as the shard takes."""
    with pq.ParquetWriter(file, SCHEMA) as writer:
        written = 0
        while group:
            writer.write_table(pa.Table.from_pylist(group, SCHEMA))
            written += len(group)
            group = list(islice(rows, min(ROWS_PER_GROUP, ROWS_PER_SHARD - written)))


def _rows(samples: Iterable[Sample], source: str, split: str) -> Iterator[dict[str, Any]]:
    for image_id, group in groupby(samples, key=lambda sample: sample.image_id.partition("#")[0]):
        members = list(group)
        height, width = members[0].mask.shape
        yield {
            "image_id": image_id,
            "source": source,
            "split": split,
            "height": height,
            "width": width,
            "image": _encoded(members[0].image),
            "objects": [_object(sample) for sample in members],
        }


def _object(sample: Sample) -> dict[str, Any]:
    rle = encode_coco(sample.mask)["counts"]
    return {"rle": rle, "category": sample.category, "area": int(np.count_nonzero(sample.mask))}


def _encoded(image: Image) -> bytes:
    buffer = BytesIO()
    Picture.fromarray(image).save(buffer, "WEBP", quality=QUALITY)
    return buffer.getvalue()


class _Shard:
    """A Parquet file: its rows without the images, which are read by row group when asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = pq.ParquetFile(path)
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(f"Shard {str(path)!r} cannot be read: {error}") from error
        missing = sorted(set(COLUMNS) - set(self._file.schema_arrow.names))
        if missing:
            raise DatasetError(f"Shard {str(path)!r} lacks the columns {', '.join(missing)}.")
        light = [name for name in self._file.schema_arrow.names if name in {*COLUMNS, "source"} - {"image"}]
        self._rows = self._file.read(columns=light).to_pylist()
        groups = range(self._file.num_row_groups)
        self._group_ends = np.cumsum([self._file.metadata.row_group(group).num_rows for group in groups])
        self._group = lru_cache(maxsize=1)(self._read_group)
        self._image = lru_cache(maxsize=CACHED_IMAGES)(self._read_image)

    def splits(self) -> set[str]:
        return {row["split"] for row in self._rows}

    def readers(self, split: str | None) -> list[Read]:
        """One for each object of the split, or of all splits."""
        return [
            partial(self._read, index, number)
            for index, row in enumerate(self._rows)
            if split is None or row["split"] == split
            for number in range(len(row["objects"]))
        ]

    def _read(self, index: int, number: int) -> Sample:
        row = self._rows[index]
        item = row["objects"][number]
        name = row["image_id"] if number == 0 else f"{row['image_id']}#{number}"
        try:
            image = self._image(index)
            mask = decode_coco({"size": [row["height"], row["width"]], "counts": item["rle"]})
        except (ImageError, MaskError) as error:
            raise DatasetError(f"Sample {name!r} in {str(self._path)!r}: {error}") from error
        return checked_sample(name, image, mask, category=item["category"], source=row.get("source") or "")

    def _read_image(self, index: int) -> Image:
        group = int(np.searchsorted(self._group_ends, index, side="right"))
        from_end = index - int(self._group_ends[group])
        return decode_image(self._group(group)[from_end].as_py())

    def _read_group(self, group: int) -> pa.ChunkedArray:
        return self._file.read_row_group(group, columns=["image"])["image"]
