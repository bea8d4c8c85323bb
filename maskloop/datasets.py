"""Samples: an image with the mask of one object, read from the datasets that people measure clicks on.

    parquet    a shard or a folder of them: image_id, split, height, width, image, objects {rle, category}
    grabcut    data_GT/<name>.*, boundary_GT/<name>.* where 128 is undecided and more than 128 the object
    berkeley   images/<name>.*, masks/<name>.* or, for several objects of an image, masks/<name>#<i>.*
    davis      img/<name>.*, gt/<name>.* where every value but 0 is the object

Opening a dataset reads its index. An image is decoded when a sample of it is asked for, and kept for a while,
so that the objects of one image cost one decoding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from maskloop.arrays import Image, Mask
from maskloop.errors import DatasetError, ImageError, MaskError
from maskloop.images import decode_image, read_image, read_levels
from maskloop.masks import decode_coco

COLUMNS = ["image_id", "split", "height", "width", "image", "objects"]
SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
CACHED_IMAGES = 4

Levels = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Sample:
    """One object of an image.

    `image_id` is the name of the image, followed by `#<i>` where an image has several objects. `image` is
    (H, W, 3) uint8 RGB and shared by the samples of that image, so not to be written to. `mask` and `ignore`
    are (H, W) bool; what is in `ignore` counts as neither object nor background, and None stands for nowhere.
    """

    image_id: str
    image: Image
    mask: Mask
    ignore: Mask | None
    category: str


class Samples(Sequence[Sample]):
    """Samples that are read when asked for; those of a slice no sooner."""

    def __init__(self, readers: Sequence[Callable[[], Sample]]) -> None:
        self._readers = readers

    def __len__(self) -> int:
        return len(self._readers)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> "Samples": ...
    def __getitem__(self, index: int | slice) -> "Sample | Samples":
        if isinstance(index, slice):
            return Samples(self._readers[index])
        return self._readers[index]()


def open_dataset(name: str, root: Path | str, split: str | None = None, limit: int | None = None) -> Samples:
    """Open a dataset by name.

    Args:
        name: `parquet`, `grabcut`, `berkeley` or `davis`.
        root: the folder that holds it; for `parquet` a single shard is good too.
        split: only samples of this split; `parquet` alone has splits.
        limit: only so many samples, the first.

    Raises:
        DatasetError: the name is unknown, or `root` does not hold such a dataset. Reading a sample raises it
            too, when its image or mask is damaged, the two differ in size, or the mask is empty.
    """
    if limit is not None and limit < 1:
        raise DatasetError(f"A limit of {limit} samples leaves none: give 1 or more.")
    if name == "parquet":
        return _open_parquet(Path(root), split)[:limit]
    if name not in _FOLDERS:
        raise DatasetError(f"Unknown dataset {name!r}. Known: {', '.join(['parquet', *_FOLDERS])}.")
    if split is not None:
        raise DatasetError(f"Dataset {name!r} has no splits, so none called {split!r}: leave the split out.")
    return _open_folders(Path(root), _FOLDERS[name])[:limit]


def _sample(
    image_id: str, image: Image, mask: Mask, ignore: Mask | None = None, category: str = ""
) -> Sample:
    if image.shape[:2] != mask.shape:
        raise DatasetError(
            f"Sample {image_id!r}: its image has {image.shape[1]} x {image.shape[0]} pixels,"
            f" its mask {mask.shape[1]} x {mask.shape[0]}. They must be equal."
        )
    if not mask.any():
        raise DatasetError(f"Sample {image_id!r}: its mask is empty. Take it out of the dataset.")
    return Sample(image_id, image, mask, ignore, category)


# Shards


def _open_parquet(root: Path, split: str | None) -> Samples:
    shards = sorted(root.glob("*.parquet")) if root.is_dir() else [root]
    if not shards or not shards[0].is_file():
        raise DatasetError(
            f"{str(root)!r} is no Parquet shard, nor a folder with *.parquet in it. {_found(root)}"
        )
    readers: list[Callable[[], Sample]] = []
    splits: set[str] = set()
    for shard in shards:
        reader = _Shard(shard)
        splits |= reader.splits()
        readers += reader.readers(split)
    if not readers:
        raise DatasetError(
            f"{str(root)!r} holds no object of split {split!r}."
            f" Splits here: {', '.join(sorted(splits)) or 'none'}."
        )
    return Samples(readers)


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
        self._rows = self._file.read(columns=[name for name in COLUMNS if name != "image"]).to_pylist()
        groups = range(self._file.num_row_groups)
        self._group_ends = np.cumsum([self._file.metadata.row_group(group).num_rows for group in groups])
        self._group = lru_cache(maxsize=1)(self._read_group)
        self._image = lru_cache(maxsize=CACHED_IMAGES)(self._read_image)

    def splits(self) -> set[str]:
        return {row["split"] for row in self._rows}

    def readers(self, split: str | None) -> list[Callable[[], Sample]]:
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
        return _sample(name, image, mask, category=item["category"])

    def _read_image(self, index: int) -> Image:
        group = int(np.searchsorted(self._group_ends, index, side="right"))
        from_end = index - int(self._group_ends[group])
        return decode_image(self._group(group)[from_end].as_py())

    def _read_group(self, group: int) -> pa.ChunkedArray:
        return self._file.read_row_group(group, columns=["image"])["image"]


# Folders of images and of masks


@dataclass(frozen=True)
class _Folders:
    images: str
    masks: str
    split_mask: Callable[[Levels], tuple[Mask, Mask | None]]


def _undecided_at_128(levels: Levels) -> tuple[Mask, Mask | None]:
    """Object and undecided pixels. Some copies of the sets hold masks of 0 and 1 instead of 0 and 255."""
    ignore = levels == 128
    return (levels > 128) | (levels == 1), ignore if ignore.any() else None


def _any_value(levels: Levels) -> tuple[Mask, Mask | None]:
    return levels > 0, None


_FOLDERS = {
    "grabcut": _Folders("data_GT", "boundary_GT", _undecided_at_128),
    "berkeley": _Folders("images", "masks", _undecided_at_128),
    "davis": _Folders("img", "gt", _any_value),
}


def _open_folders(root: Path, folders: _Folders) -> Samples:
    for folder in (folders.images, folders.masks):
        if not (root / folder).is_dir():
            raise DatasetError(
                f"{str(root)!r} must hold a folder {folders.images!r} with images and a folder"
                f" {folders.masks!r} with masks of the same names. {_found(root)}"
            )
    images, masks = _by_stem(root / folders.images), _by_stem(root / folders.masks)
    # A mask "name#1" is of the image "name", unless an image has that very name.
    image_of = {stem: stem if stem in images else stem.partition("#")[0] for stem in masks}
    lonely = sorted(set(image_of.values()) ^ set(images))
    if lonely or not masks:
        raise DatasetError(
            f"{str(root)!r}: every image in {folders.images!r} ({len(images)}) needs a mask of its name in"
            f" {folders.masks!r} ({len(masks)}), and every mask an image."
            f" Alone: {', '.join(lonely[:5]) or 'none'}."
        )
    cached = lru_cache(maxsize=CACHED_IMAGES)(read_image)

    def read(stem: str) -> Sample:
        try:
            image = cached(images[image_of[stem]])
            mask, ignore = folders.split_mask(read_levels(masks[stem]))
        except ImageError as error:
            raise DatasetError(f"Sample {stem!r}: {error}") from error
        return _sample(stem, image, mask, ignore)

    return Samples([partial(read, stem) for stem in sorted(masks)])


def _by_stem(folder: Path) -> dict[str, Path]:
    """Image files by name without ending; what else systems leave in folders is passed over."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in files:
            raise DatasetError(
                f"{files[path.stem].name!r} and {path.name!r} in {str(folder)!r} share a name: keep one."
            )
        files[path.stem] = path
    return files


def _found(root: Path) -> str:
    """What is at the place, for a message."""
    if not root.is_dir():
        return "It is a file." if root.exists() else "There is no such folder."
    names = sorted(path.name for path in root.iterdir())
    return f"Found there: {', '.join(names[:8]) or 'nothing'}{', ...' if len(names) > 8 else ''}."
