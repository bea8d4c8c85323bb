"""Proposals: the objects that a predictor finds in an image without anybody clicking.

Single clicks on a grid are answered in batches. A mask stays when the network is sure of it, when it
hardly depends on the threshold, and when a click at its own centre gives the same mask again; of masks that
cover the same pixels the best one stays.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from maskloop.arrays import Image, Mask, Plane
from maskloop.clicks import Click, next_click
from maskloop.evaluation import BatchSegmenter, prepared
from maskloop.metrics import intersection_over_union
from maskloop.predictor import Prediction, PreparedImage, Request

Item = TypeVar("Item")


@dataclass(frozen=True)
class ProposalConfig:
    """Which masks stay.

    grid: clicks along the longer side of the image; the other side has them as far apart.
    limit: masks an image, at most.
    smallest, largest: share of the image that a mask may cover.
    confidence: mean probability of its pixels, at least.
    stability: IoU of the masks at `thresholds`, at least.
    agreement: IoU with the mask of a click at its centre, at least.
    overlap: IoU above which two masks are the same object.
    batch: clicks that the network answers together.
    """

    grid: int = 8
    limit: int = 20
    smallest: float = 0.0005
    largest: float = 0.6
    confidence: float = 0.6
    stability: float = 0.6
    agreement: float = 0.8
    overlap: float = 0.5
    batch: int = 8
    thresholds: tuple[float, float] = (0.35, 0.65)


@dataclass(frozen=True)
class Proposal:
    """A mask, (H, W) bool, the click that gave it, and how good it seems, 0..1."""

    mask: Mask
    click: Click
    score: float


def propose(segmenter: BatchSegmenter, image: Image, config: ProposalConfig | None = None) -> list[Proposal]:
    """Masks of an image, (H, W, 3) uint8 RGB; the best first, no two of the same object."""
    config = config or ProposalConfig()
    height, width = image.shape[:2]
    found: list[_Candidate] = []
    shown = prepared(segmenter, image)
    for clicks in _batches(grid_clicks(height, width, config.grid), config.batch):
        predictions = segmenter.predict_batch([Request(shown, [click]) for click in clicks])
        for click, prediction in zip(clicks, predictions, strict=True):
            candidate = _judge(prediction, click, config)
            found += [] if candidate is None else [candidate]
    distinct = _without_duplicates(found, config.overlap)
    stable = _confirmed(segmenter, shown, (height, width), distinct, config)
    return [_proposal(candidate, height, width) for candidate in stable]


def grid_clicks(height: int, width: int, grid: int) -> list[Click]:
    """Positive clicks at the centres of equal cells, `grid` of them along the longer side."""
    step = max(height, width) / grid
    rows, cols = max(1, round(height / step)), max(1, round(width / step))
    return [
        Click(row=(row + 0.5) / rows * height - 0.5, col=(col + 0.5) / cols * width - 0.5)
        for row in range(rows)
        for col in range(cols)
    ]


def stability(probability: Plane, thresholds: tuple[float, float]) -> float:
    """IoU of the masks at a low and a high threshold; the high one lies inside the low one."""
    low, high = (int((probability > threshold).sum()) for threshold in thresholds)
    return high / low if low else 0.0


@dataclass(frozen=True)
class _Candidate:
    """A mask cut out of its image, as the grid gives many of them: rows and columns from (top, left) on."""

    top: int
    left: int
    mask: Mask
    click: Click
    score: float

    @property
    def area(self) -> int:
        return int(self.mask.sum())

    def overlap(self, other: "_Candidate") -> float:
        """IoU with another one."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom, right = (min(self._end(axis), other._end(axis)) for axis in (0, 1))
        if top >= bottom or left >= right:
            return 0.0
        common = self._window(top, left, bottom, right) & other._window(top, left, bottom, right)
        both = int(common.sum())
        return both / (self.area + other.area - both)

    def centre(self) -> Click:
        """The most interior pixel."""
        click = next_click(np.zeros_like(self.mask), self.mask)
        assert click is not None  # noqa: S101 - a candidate has pixels
        return Click(click.row + self.top, click.col + self.left)

    def _end(self, axis: int) -> int:
        return (self.top, self.left)[axis] + self.mask.shape[axis]

    def _window(self, top: int, left: int, bottom: int, right: int) -> Mask:
        return self.mask[top - self.top : bottom - self.top, left - self.left : right - self.left]


def _judge(prediction: Prediction, click: Click, config: ProposalConfig) -> _Candidate | None:
    """A candidate, if the network is sure enough of its mask and the mask is about what was clicked."""
    probability, mask = prediction.probability, prediction.mask
    if not mask[round(click.row), round(click.col)]:
        return None
    if not config.smallest <= mask.mean() <= config.largest:
        return None
    confidence = float(probability[mask].mean(dtype=np.float64))
    steady = stability(probability, config.thresholds)
    if confidence < config.confidence or steady < config.stability:
        return None
    return _cut(mask, click, confidence * steady)


def _cut(mask: Mask, click: Click, score: float) -> _Candidate:
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    inside = mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1].copy()
    return _Candidate(int(rows[0]), int(cols[0]), inside, click, score)


def _without_duplicates(candidates: Sequence[_Candidate], overlap: float) -> list[_Candidate]:
    """The best candidates first, without those that cover the pixels of a better one."""
    kept: list[_Candidate] = []
    for candidate in sorted(candidates, key=lambda one: one.score, reverse=True):
        if all(candidate.overlap(better) <= overlap for better in kept):
            kept.append(candidate)
    return kept


def _confirmed(
    segmenter: BatchSegmenter,
    shown: Image | PreparedImage,
    size: tuple[int, int],
    candidates: Sequence[_Candidate],
    config: ProposalConfig,
) -> list[_Candidate]:
    """The first `limit` candidates that a click at their centre finds again, in an image of this size."""
    confirmed: list[_Candidate] = []
    for group in _batches(candidates, config.batch):
        predictions = segmenter.predict_batch([Request(shown, [one.centre()]) for one in group])
        for candidate, prediction in zip(group, predictions, strict=True):
            mask = _proposal(candidate, *size).mask
            agreement = intersection_over_union(prediction.mask, mask)
            if agreement >= config.agreement:
                confirmed.append(replace(candidate, score=candidate.score * agreement))
        if len(confirmed) >= config.limit:
            break
    return sorted(confirmed, key=lambda one: one.score, reverse=True)[: config.limit]


def _proposal(candidate: _Candidate, height: int, width: int) -> Proposal:
    mask = np.zeros((height, width), bool)
    rows, cols = candidate.mask.shape
    mask[candidate.top : candidate.top + rows, candidate.left : candidate.left + cols] = candidate.mask
    return Proposal(mask, candidate.click, candidate.score)


def _batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
