"""Folders like those of ssTEM (groundtruth-drosophila-vnc): micrographs, and binary masks of what is in them.

    raw/<name>.tif    mitochondria/<name>.png

in the root or in folders below it, such as `stack1`. Every value of a mask but 0 is an object; its connected
components (pixels that touch at a side or corner) are the instances. A folder of images without masks, such
as `stack2`, is passed over.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from maskloop.datasets.samples import (
    CACHED_IMAGES,
    Read,
    Sample,
    checked_sample,
    found,
    images_by_stem,
    refuse_split,
)
from maskloop.errors import DatasetError, ImageError
from maskloop.images import read_image, read_levels

IMAGES = ("raw", "images", "image", "img")
MASKS = ("mitochondria", "masks", "mask", "labels", "label", "gt")
"""Names of the folders; of each, the first that is there is taken."""
SPECK = 16
"""Components of fewer pixels are slips of the pen, not objects."""


def open_sstem(root: Path, split: str | None) -> Iterator[Read]:
    """One reader a connected component; opening reads every mask."""
    refuse_split("sstem", split)
    stacks = _stacks(root)
    if not stacks:
        raise DatasetError(
            f"{str(root)!r}, or folders in it, must hold a folder of images ({', '.join(IMAGES)}) beside one"
            f" of masks ({', '.join(MASKS)}). {found(root)}"
        )
    images = lru_cache(maxsize=CACHED_IMAGES)(read_image)
    labels = lru_cache(maxsize=CACHED_IMAGES)(_components)

    def read(image: Path, mask: Path, image_id: str, number: int) -> Sample:
        try:
            pixels = images(image)
        except ImageError as error:
            raise DatasetError(f"Sample {image_id!r}: {error}") from error
        return checked_sample(image_id, pixels, labels(mask) == number, category=mask.parent.name)

    for folder, masks in stacks:
        pictures = images_by_stem(folder)
        for stem, mask in images_by_stem(masks).items():
            if stem not in pictures:
                raise DatasetError(f"Mask {str(mask)!r} needs an image {stem!r} in {str(folder)!r}.")
            name = stem if folder.parent == root else f"{folder.parent.name}/{stem}"
            for number in _numbers(_components(mask)):
                yield partial(read, pictures[stem], mask, f"{name}#{number}", number)


def _stacks(root: Path) -> list[tuple[Path, Path]]:
    """Folders of images with the folder of their masks."""
    if not root.is_dir():
        return []
    places = [root, *(path for path in sorted(root.iterdir()) if path.is_dir())]
    pairs = ((_first(place, IMAGES), _first(place, MASKS)) for place in places)
    return [(images, masks) for images, masks in pairs if images and masks]


def _first(place: Path, names: tuple[str, ...]) -> Path | None:
    return next((place / name for name in names if (place / name).is_dir()), None)


def _components(mask: Path) -> npt.NDArray[np.int32]:
    """The number of the component of each pixel, 0 outside."""
    try:
        levels = read_levels(mask)
    except ImageError as error:
        raise DatasetError(f"Mask {str(mask)!r}: {error}") from error
    _, labels = cv2.connectedComponents((levels > 0).astype(np.uint8), connectivity=8)
    return labels.astype(np.int32, copy=False)


def _numbers(labels: npt.NDArray[np.int32]) -> list[int]:
    """Components large enough to be objects."""
    sizes = np.bincount(labels.ravel())[1:]
    return [int(number) + 1 for number in np.flatnonzero(sizes >= SPECK)]
