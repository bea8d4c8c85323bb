"""SBD, the Semantic Boundaries Dataset: instances of Pascal VOC's categories in MATLAB files.

    img/<name>.jpg    inst/<name>.mat    train.txt, val.txt: names, one a line

in the root or in `dataset/` below it, as the archive unpacks. `GTinst` of a .mat file has `Segmentation`, the
number of the instance of each pixel, and `Categories`, the category of each instance.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maskloop.datasets.categories import VOC
from maskloop.datasets.samples import CACHED_IMAGES, Read, Sample, checked_sample, found, unknown_split
from maskloop.errors import DatasetError, ImageError
from maskloop.images import read_image

VOID = 255
"""Pixels of no known content, as in Pascal VOC."""


@dataclass(frozen=True)
class _Instances:
    """The number of the instance of each pixel (H, W), and the category of each instance, from 1 on."""

    numbers: npt.NDArray[np.uint8]
    categories: npt.NDArray[np.integer]

    def present(self) -> list[int]:
        numbers = np.flatnonzero(np.bincount(self.numbers.ravel(), minlength=VOID + 1)[:VOID])
        return [int(number) for number in numbers if number > 0]

    def category(self, number: int) -> str:
        category = int(self.categories[number - 1])
        if category < 1:
            raise ValueError(f"instance {number} has category {category}")
        return VOC[category - 1]


def open_sbd(root: Path, split: str | None) -> Iterator[Read]:
    """One reader an instance; opening reads the `.mat` file of every image."""
    folder = root / "dataset" if (root / "dataset").is_dir() else root
    lists = {path.stem: path for path in sorted(folder.glob("*.txt"))}
    if not lists or not (folder / "img").is_dir() or not (folder / "inst").is_dir():
        raise DatasetError(
            f"{str(root)!r} must hold, itself or in 'dataset', the folders 'img' with <name>.jpg and 'inst'"
            f" with <name>.mat, and 'train.txt' and 'val.txt' with their names. {found(folder)}"
        )
    if split is not None and split not in lists:
        raise unknown_split(root, split, lists)
    images = lru_cache(maxsize=CACHED_IMAGES)(read_image)
    instances = lru_cache(maxsize=CACHED_IMAGES)(_read_instances)

    def read(name: str, number: int) -> Sample:
        image_id = f"{name}#{number}"
        truth = instances(folder / "inst" / f"{name}.mat")
        try:
            image = images(folder / "img" / f"{name}.jpg")
        except ImageError as error:
            raise DatasetError(f"Sample {image_id!r}: {error}") from error
        void = truth.numbers == VOID
        ignore = void if void.any() else None
        return checked_sample(image_id, image, truth.numbers == number, ignore, truth.category(number))

    for name in _names(lists.values() if split is None else [lists[split]]):
        for number in _read_instances(folder / "inst" / f"{name}.mat").present():
            yield partial(read, name, number)


def _names(lists: Iterable[Path]) -> list[str]:
    """The names of all lists, each once: `train_noval.txt` repeats what `train.txt` holds."""
    return list(dict.fromkeys(name for path in lists for name in path.read_text().split()))


def _read_instances(path: Path) -> _Instances:
    # here, so that no other dataset waits for scipy
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        truth = loadmat(path, variable_names=["GTinst"])["GTinst"][0, 0]
        numbers, categories = truth["Segmentation"], truth["Categories"].ravel()
        result = _Instances(numbers, categories)
        for number in result.present():
            result.category(number)
    except (OSError, MatReadError) as error:
        raise DatasetError(f"{str(path)!r} cannot be read as a MATLAB file: {error}") from error
    except (IndexError, KeyError, NotImplementedError, TypeError, ValueError) as error:
        raise DatasetError(
            f"{str(path)!r} must hold a struct GTinst with Segmentation, numbers of instances, and"
            f" Categories, a number of 1 to {len(VOC)} for each of them: {error!r}."
        ) from error
    return result
