"""Datasets that are a folder of images and a folder of masks of the same names."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maskloop.arrays import Mask
from maskloop.datasets.categories import SEEN
from maskloop.datasets.samples import (
    CACHED_IMAGES,
    Read,
    Sample,
    checked_sample,
    found,
    images_by_stem,
    refuse_split,
    unknown_split,
)
from maskloop.errors import DatasetError, ImageError
from maskloop.images import read_image, read_levels

Levels = npt.NDArray[np.integer]

MVAL_NAME = re.compile(r"(?P<category>.+)\d\d_\d+")
"""COCO_MVal's file names, such as `hot dog06_000000283268`: category, number in it, COCO's image."""


def _undecided_at_128(levels: Levels) -> tuple[Mask, Mask | None]:
    """Object and undecided pixels. Some copies of the sets hold masks of 0 and 1 instead of 0 and 255."""
    ignore = levels == 128
    return (levels > 128) | (levels == 1), ignore if ignore.any() else None


def _any_value(levels: Levels) -> tuple[Mask, Mask | None]:
    return levels > 0, None


def _no_category(_: str) -> str:
    return ""


def _mval_category(stem: str) -> str:
    match = MVAL_NAME.fullmatch(stem)
    return match["category"] if match else ""


@dataclass(frozen=True)
class _Folders:
    images: str
    masks: str
    split_mask: Callable[[Levels], tuple[Mask, Mask | None]]
    category: Callable[[str], str] = _no_category


_GRABCUT = _Folders("data_GT", "boundary_GT", _undecided_at_128)
_BERKELEY = _Folders("images", "masks", _undecided_at_128)
_DAVIS = _Folders("img", "gt", _any_value)
_COCO_MVAL = _Folders("img", "gt", _any_value, _mval_category)


def open_grabcut(root: Path, split: str | None) -> Iterable[Read]:
    """`data_GT/<name>.*`, `boundary_GT/<name>.*`: 128 is undecided, more than 128 the object."""
    refuse_split("grabcut", split)
    return _readers(root, _GRABCUT).values()


def open_berkeley(root: Path, split: str | None) -> Iterable[Read]:
    """`images/<name>.*`, `masks/<name>.*` or, for several objects of an image, `masks/<name>#<i>.*`.

    Levels mean what they mean in GrabCut, so the mask that holds some pixels of 197 and 243 is whole.
    """
    refuse_split("berkeley", split)
    return _readers(root, _BERKELEY).values()


def open_davis(root: Path, split: str | None) -> Iterable[Read]:
    """`img/<name>.*`, `gt/<name>.*`: every colour but black is the object, so that all objects are one."""
    refuse_split("davis", split)
    return _readers(root, _DAVIS).values()


def open_coco_mval(root: Path, split: str | None) -> Iterable[Read]:
    """`img/<category><nn>_<image>.jpg`, `gt/<same>.png`: one object a mask.

    Its splits are `seen`, the categories of Pascal VOC, and `unseen`, the others.
    """
    readers = _readers(root, _COCO_MVAL)
    if split is None:
        return readers.values()
    splits: dict[str, list[Read]] = {}
    for stem, read in readers.items():
        category = _mval_category(stem)
        if category:
            splits.setdefault("seen" if category in SEEN else "unseen", []).append(read)
    if split not in splits:
        raise unknown_split(root, split, splits)
    return splits[split]


def _readers(root: Path, folders: _Folders) -> dict[str, Read]:
    """One reader a mask, by the mask's name."""
    for folder in (folders.images, folders.masks):
        if not (root / folder).is_dir():
            raise DatasetError(
                f"{str(root)!r} must hold a folder {folders.images!r} with images and a folder"
                f" {folders.masks!r} with masks of the same names. {found(root)}"
            )
    images, masks = images_by_stem(root / folders.images), images_by_stem(root / folders.masks)
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
        return checked_sample(stem, image, mask, ignore, folders.category(stem))

    return {stem: partial(read, stem) for stem in sorted(masks)}
