"""Training images held on a device, so that views are cut out there and nothing is decoded or sent again.

An accelerator is faster than a processor can decode: each image is decoded once, at the start, and stays as
bytes; masks stay as run lengths, from which a device makes pixels in one operation.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Generator, Tensor

from maskloop.corpus import Corpus, clicks_of
from maskloop.errors import TrainingError
from maskloop.masks import coco_lengths
from maskloop.views import Scene


class Resident:
    """A corpus on a device: it draws what the corpus would draw, the same numbers given."""

    def __init__(self, corpus: Corpus, device: str) -> None:
        """Decode and hold everything.

        Args:
            corpus: what is drawn from.
            device: torch device that holds images and masks.

        Raises:
            TrainingError: the device has too little memory.
        """
        self._corpus = corpus
        numbers = range(len(corpus))
        try:
            with ThreadPoolExecutor() as pool:
                self._images = [image.to(device) for image in pool.map(corpus.image, numbers)]
            self._lengths = [
                [_lengths(item, corpus.size(number)).to(device) for item in corpus.objects(number)]
                for number in numbers
            ]
        except torch.OutOfMemoryError as error:
            wanted = 3 * sum(height * width for height, width in map(corpus.size, numbers)) / 1e9
            raise TrainingError(
                f"{len(corpus)} images take {wanted:.1f} GB, which {device} has not free: "
                "train with --no-hold, or on fewer images"
            ) from error

    def __len__(self) -> int:
        return len(self._corpus)

    def draw(self, generator: Generator) -> Scene:
        """As `Corpus.draw`; image and masks lie on the device, clicks of people on the CPU."""
        number, chosen = self._corpus.pick(generator)
        objects = self._corpus.objects(number)
        masks = _Masks([self._lengths[number][index] for index in chosen], *self._corpus.size(number))
        return Scene(self._images[number], masks, clicks_of([objects[index] for index in chosen]))


class _Masks:
    """Masks (H, W) bool of an image's objects, each made from its run lengths when it is asked for."""

    def __init__(self, lengths: Sequence[Tensor], height: int, width: int) -> None:
        self._lengths = lengths
        self._height = height
        self._width = width

    def __len__(self) -> int:
        return len(self._lengths)

    def __getitem__(self, index: int) -> Tensor:
        lengths = self._lengths[index]
        filled = torch.arange(len(lengths), device=lengths.device) % 2 == 1
        # told how many pixels there will be, the device need not be waited for
        pixels = filled.repeat_interleave(lengths, output_size=self._height * self._width)
        return pixels.reshape(self._width, self._height).T


def _lengths(item: Mapping[str, Any], size: tuple[int, int]) -> Tensor:
    """Lengths of an object's runs, down the columns, the first outside the object."""
    return torch.from_numpy(coco_lengths({"size": list(size), "counts": item["rle"]})).int()
