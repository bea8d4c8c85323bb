"""Simulated annotators: who clicks, given the mask so far and the mask wanted.

An annotator keeps nothing between clicks. What it draws depends on its seed, the sample's `image_id` and the
number of the click alone, so an object gets the same clicks in whatever order or batch it is labelled.
"""

import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from maskloop.arrays import Mask
from maskloop.clicks import Click, next_click
from maskloop.datasets import Sample
from maskloop.errors import EvaluationError


class Annotator(Protocol):
    """Whoever corrects masks by clicks."""

    def click(self, prediction: Mask, sample: Sample, clicked: Sequence[Click]) -> Click | None:
        """The next click on a mask (H, W) bool; None when nothing is left to correct."""
        ...

    def describe(self) -> dict[str, Any]:
        """Name and settings, as plain values for a report."""
        ...


@dataclass(frozen=True)
class CentreAnnotator:
    """Clicks the most interior pixel of the larger error: `next_click`, the protocol of published figures."""

    def click(self, prediction: Mask, sample: Sample, clicked: Sequence[Click]) -> Click | None:
        return next_click(prediction, sample.mask, sample.ignore, clicked)

    def describe(self) -> dict[str, Any]:
        return {"name": "centre"}


@dataclass(frozen=True)
class NoisyAnnotator:
    """Means the centre and misses it (perturbation test of arXiv 2203.05145, appendix).

    Row and column are shifted by whole pixels, each uniform in -pixels..pixels, and kept inside the image.
    The sign stays that of the click meant, even where the shifted one lands on the other side.
    """

    pixels: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.pixels < 0:
            raise EvaluationError(f"clicks cannot miss by {self.pixels} pixels; give 0 or more")

    def click(self, prediction: Mask, sample: Sample, clicked: Sequence[Click]) -> Click | None:
        meant = next_click(prediction, sample.mask, sample.ignore, clicked)
        if meant is None:
            return None
        generator = _generator(self.seed, sample, len(clicked))
        shift = generator.integers(-self.pixels, self.pixels, size=2, endpoint=True)
        row, col = np.clip(np.add((meant.row, meant.col), shift), 0, np.subtract(sample.mask.shape, 1))
        return Click(int(row), int(col), meant.positive)

    def describe(self) -> dict[str, Any]:
        return {"name": "noisy", **asdict(self)}


def _generator(seed: int, sample: Sample, number: int) -> np.random.Generator:
    """Randomness of one click of one object."""
    return np.random.default_rng([seed, zlib.crc32(sample.image_id.encode()), number])
