"""Simulated annotators: who clicks, given the mask so far and the mask wanted.

An annotator keeps nothing between clicks. What it draws depends on its seed, the sample's `image_id` and the
number of the click alone, so an object gets the same clicks in whatever order or batch it is labelled.
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import cv2
import numpy as np

from maskloop.arrays import Mask
from maskloop.clicks import Click, Depth, next_click
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
        return next_click(prediction, sample.mask, sample.ignore, clicked, squared_depth)

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
        meant = CentreAnnotator().click(prediction, sample, clicked)
        if meant is None:
            return None
        generator = _generator(self.seed, sample, len(clicked))
        shift = generator.integers(-self.pixels, self.pixels, size=2, endpoint=True)
        row, col = np.clip(np.add((meant.row, meant.col), shift), 0, np.subtract(sample.mask.shape, 1))
        return Click(int(row), int(col), meant.positive)

    def describe(self) -> dict[str, Any]:
        return {"name": "noisy", **asdict(self)}


@dataclass(frozen=True)
class RealisticAnnotator:
    """Clicks somewhere inside the larger error, the more likely the farther from the error's edge.

    Which error is the larger one is decided as by the ideal annotator; the pixel is drawn with a probability
    proportional to its distance to the nearest pixel outside that error: anywhere inside what is wrong,
    seldom at its rim. A choice of ours, not fitted to clicks of people as in RClicks (NeurIPS 2024), whose
    annotators draw from the error region as well.
    """

    seed: int = 0

    def click(self, prediction: Mask, sample: Sample, clicked: Sequence[Click]) -> Click | None:
        ideal = CentreAnnotator().click(prediction, sample, clicked)
        if ideal is None:
            return None
        error = sample.mask & ~prediction if ideal.positive else prediction & ~sample.mask
        depth = np.sqrt(squared_depth(error if sample.ignore is None else error & ~sample.ignore))
        for click in clicked:
            depth[math.floor(click.row + 0.5), math.floor(click.col + 0.5)] = 0
        inside = np.flatnonzero(depth)
        weights = depth.flat[inside]
        generator = _generator(self.seed, sample, len(clicked))
        row, col = divmod(int(generator.choice(inside, p=weights / weights.sum())), depth.shape[1])
        return Click(row, col, ideal.positive)

    def describe(self) -> dict[str, Any]:
        return {"name": "realistic", **asdict(self)}


def squared_depth(region: Mask) -> Depth:
    """OpenCV's counterpart of `maskloop.clicks.squared_depth`: the same integers, and sooner on large images.

    OpenCV gives roots in single precision, whose squares round to the integers they came from for depths up
    to 2,000 pixels.
    """
    padded = np.pad(region.astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    return np.rint(np.square(distance, dtype=np.float64)).astype(np.int32)


def _generator(seed: int, sample: Sample, number: int) -> np.random.Generator:
    """Randomness of one click of one object."""
    return np.random.default_rng([seed, zlib.crc32(sample.image_id.encode()), number])
