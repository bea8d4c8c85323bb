"""Samples, and what the readers of folders share."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from maskloop.arrays import Image, Mask
from maskloop.errors import DatasetError

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
CACHED_IMAGES = 4
"""Images that a reader keeps decoded, so that the objects of one image cost one decoding."""


@dataclass(frozen=True)
class Sample:
    """One object of an image.

    `image_id` is the name of the image, followed by `#<i>` where an image has several objects. `image` is
    (H, W, 3) uint8 RGB and shared by the samples of that image, so not to be written to. `mask` and `ignore`
    are (H, W) bool; what is in `ignore` counts as neither object nor background, and None stands for nowhere.
    `source` says where the image comes from, in datasets of several sources.
    """

    image_id: str
    image: Image
    mask: Mask
    ignore: Mask | None
    category: str
    source: str = ""


Read = Callable[[], Sample]
"""Reads one sample when called."""


class Samples(Sequence[Sample]):
    """Samples that are read when asked for; those of a slice no sooner."""

    def __init__(self, readers: Sequence[Read]) -> None:
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

    def spread(self, count: int | None) -> "Samples":
        """At most `count` of them, evenly from first to last, so that no image or category gives them all."""
        count = min(count or len(self), len(self))
        return self.take([place * len(self) // count for place in range(count)])

    def take(self, places: Iterable[int]) -> "Samples":
        """Those at these places, in this order."""
        return Samples([self._readers[place] for place in places])


def checked_sample(
    image_id: str, image: Image, mask: Mask, ignore: Mask | None = None, category: str = "", source: str = ""
) -> Sample:
    """A sample, or DatasetError when its mask is empty or not of its image's size."""
    if image.shape[:2] != mask.shape:
        raise DatasetError(
            f"Sample {image_id!r}: its image has {image.shape[1]} x {image.shape[0]} pixels,"
            f" its mask {mask.shape[1]} x {mask.shape[0]}. They must be equal."
        )
    if not mask.any():
        raise DatasetError(f"Sample {image_id!r}: its mask is empty. Take it out of the dataset.")
    return Sample(image_id, image, mask, ignore, category, source)


def images_by_stem(folder: Path) -> dict[str, Path]:
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


def found(root: Path) -> str:
    """What is at the place, for a message."""
    if not root.is_dir():
        return "It is a file." if root.exists() else "There is no such folder."
    names = sorted(path.name for path in root.iterdir())
    return f"Found there: {', '.join(names[:8]) or 'nothing'}{', ...' if len(names) > 8 else ''}."


def unknown_split(root: Path, split: str | None, known: Iterable[str]) -> DatasetError:
    """The error for a split that is not there; it names those that are."""
    names = ", ".join(sorted(known)) or "none"
    return DatasetError(f"{str(root)!r} holds no object of split {split!r}. Splits here: {names}.")


def refuse_split(name: str, split: str | None) -> None:
    """Raise when a split is asked for of a dataset that has none."""
    if split is not None:
        raise DatasetError(f"Dataset {name!r} has no splits, so none called {split!r}: leave the split out.")
