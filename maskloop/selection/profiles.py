"""Profiles: what a segmenter shows of an image that nobody has labelled yet.

A few clicks on a grid are answered, each once more for a click that misses by a few pixels. How sure the
answers are, and how much they depend on threshold, click and pass, tells how many clicks a person will need;
pooled features of the encoder tell which images are alike. Large images are made smaller first, so that
every image costs about the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from maskloop.arrays import Image, Mask, Plane
from maskloop.canvas import Canvas
from maskloop.clicks import Click
from maskloop.evaluation import prepared
from maskloop.metrics import intersection_over_union
from maskloop.model.csfpn import MASK_THRESHOLD
from maskloop.predictor import Prediction, Request
from maskloop.proposals import grid_clicks, stability

Vector = npt.NDArray[np.float32]

SIGNALS = (
    "confidence",
    "stability",
    "passes",
    "noise",
    "entropy",
    "hit",
    "area",
    "edge",
    "pieces",
)
"""What is read off one answer; see `_signals`."""
THRESHOLDS = (0.35, 0.65)


class Describer(Protocol):
    """A segmenter that also says what an image looks like; `maskloop.predictor.Predictor` is one."""

    def predict_batch(self, requests: Sequence[Request]) -> list[Prediction]: ...
    def describe(self, images: Sequence[Image]) -> list[Vector]: ...


@dataclass(frozen=True)
class ProbeConfig:
    """Which clicks are tried.

    grid: clicks along the longer side; the other side has them as far apart.
    miss: by how much of the longer side the second click of each place is off.
    side: longer side in pixels above which an image is made smaller.
    batch: clicks that the network answers together.
    """

    grid: int = 3
    miss: float = 0.012
    side: int = 640
    batch: int = 8


@dataclass(frozen=True)
class Profile:
    """An image as selection sees it.

    probes: (clicks, len(SIGNALS)), what was read off the answer to each click.
    entropy: mean entropy of a pixel over all answers, in bits.
    descriptor: (D,) pooled features.
    """

    probes: Vector
    entropy: float
    descriptor: Vector

    @property
    def features(self) -> Vector:
        """(len(SIGNALS),): mean of every signal over the clicks, which is what clicks are predicted from."""
        return np.asarray(self.probes.mean(axis=0), np.float32)


def profile(segmenter: Describer, image: Image, config: ProbeConfig | None = None) -> Profile:
    """Profile an image, (H, W, 3) uint8 RGB; the same image always gives the same."""
    config = config or ProbeConfig()
    image = _shrunk(image, config.side)
    height, width = image.shape[:2]
    places = grid_clicks(height, width, config.grid)
    pairs = [(click, _missed(click, number, height, width, config)) for number, click in enumerate(places)]
    rows, entropies = [], []
    shown = prepared(segmenter, image)
    for part in _batches(pairs, max(1, config.batch // 2)):
        answers = segmenter.predict_batch([Request(shown, [click]) for pair in part for click in pair])
        for number, (click, _) in enumerate(part):
            first, second = answers[2 * number], answers[2 * number + 1]
            probability = first.probability
            entropies.append(_entropy(probability))
            rows.append(_signals(first, probability, second.mask, click, entropies[-1]))
    entropy = float(np.mean([plane.mean(dtype=np.float64) for plane in entropies]))
    return Profile(np.array(rows, np.float32), entropy, segmenter.describe([image])[0])


def described(segmenter: Describer, image: Image, config: ProbeConfig | None = None) -> Profile:
    """A profile without probes, for what needs no clicks predicted, at a fraction of the work."""
    (descriptor,) = segmenter.describe([_shrunk(image, (config or ProbeConfig()).side)])
    return Profile(np.zeros((0, len(SIGNALS)), np.float32), float("nan"), descriptor)


def _signals(
    first: Prediction, probability: Plane, missed: Mask, click: Click, entropy: Plane
) -> list[float]:
    """What one answer tells, in the order of `SIGNALS`.

    confidence: mean probability of the mask's pixels. stability: IoU of its masks at two thresholds. passes:
    IoU with the first pass alone. noise: IoU with the mask of a click a few pixels off. entropy: bits of the
    map for each pixel of the mask, logarithm. hit: whether the mask holds the click. area: of the mask,
    logarithm of its share of the image. edge: length of its outline for the outline of a disk as large.
    pieces: number of its pieces, logarithm.
    """
    mask = probability > MASK_THRESHOLD
    area = int(np.count_nonzero(mask))
    if not area:
        return [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, np.log(1 / mask.size), 1.0, 0.0]
    pieces, _ = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return [
        float(probability[mask].mean(dtype=np.float64)),
        stability(probability, THRESHOLDS),
        intersection_over_union(_first_pass(first), mask),
        intersection_over_union(missed, mask),
        float(np.log(max(entropy.sum(dtype=np.float64) / area, 1e-4))),
        float(mask[round(click.row), round(click.col)]),
        float(np.log(area / mask.size)),
        _outline(mask) / float(np.sqrt(4 * np.pi * area)),
        float(np.log(pieces - 1)),
    ]


def _first_pass(prediction: Prediction) -> Mask:
    """Mask of the pass over the whole image; where the second pass hid all of it, the mask itself."""
    canvas = prediction.canvas
    return Canvas(canvas.height, canvas.width, canvas.patches[:1]).above(MASK_THRESHOLD)


def _outline(mask: Mask) -> float:
    """Length in pixels of the border between mask and rest."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return float(sum(cv2.arcLength(contour, True) for contour in contours))


def _entropy(probability: Plane) -> Plane:
    """Bits of each pixel."""
    inside = np.clip(probability, 1e-6, 1 - 1e-6)
    return -(inside * np.log2(inside) + (1 - inside) * np.log2(1 - inside))


def _missed(click: Click, number: int, height: int, width: int, config: ProbeConfig) -> Click:
    """The click off by a few pixels, in another direction at each place."""
    reach = max(1.0, config.miss * max(height, width))
    angle = number * np.pi * (3 - np.sqrt(5))  # golden angle: no two places alike
    row, col = click.row + reach * np.sin(angle), click.col + reach * np.cos(angle)
    return Click(float(np.clip(row, 0, height - 1)), float(np.clip(col, 0, width - 1)))


def _shrunk(image: Image, side: int) -> Image:
    """The image with a longer side of at most `side` pixels."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _batches(pairs: Sequence[tuple[Click, Click]], size: int) -> Iterator[Sequence[tuple[Click, Click]]]:
    for start in range(0, len(pairs), size):
        yield pairs[start : start + size]
