"""Evaluation by clicks: how many does the simulated annotator need until the mask is good?

NoC@t is the number of the first click after which IoU >= t, 20 where that never happens, averaged over
objects. NoF@t counts the objects that 20 clicks did not solve. (RITM's code counts an object solved by the
20th click among the failures; we do not.)
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from tqdm import tqdm

from maskloop.arrays import Image, Mask, Plane
from maskloop.clicks import Click, next_click
from maskloop.datasets import Sample
from maskloop.errors import DatasetError
from maskloop.predictor import Prediction

MAX_CLICKS = 20


class Segmenter(Protocol):
    """Whatever answers clicks with a mask."""

    def predict(self, image: Image, clicks: Sequence[Click], previous: Plane | None = None) -> Prediction:
        """Image (H, W, 3) uint8, clicks so far, previous probability (H, W)."""
        ...


@dataclass(frozen=True)
class ObjectResult:
    """One object: IoU after each click, and the seconds that the predictions took."""

    image_id: str
    category: str
    ious: tuple[float, ...]
    seconds: float

    def clicks_to(self, threshold: float) -> int | None:
        """Number of the first click that reached an IoU; None if none did."""
        return next((number for number, iou in enumerate(self.ious, start=1) if iou >= threshold), None)


@dataclass(frozen=True)
class Report:
    """Results over a dataset."""

    objects: tuple[ObjectResult, ...]
    max_clicks: int = MAX_CLICKS

    def noc(self, threshold: float) -> float:
        """Mean number of clicks to an IoU."""
        return float(np.mean([item.clicks_to(threshold) or self.max_clicks for item in self.objects]))

    def failures(self, threshold: float) -> int:
        """Objects that never reached an IoU."""
        return sum(item.clicks_to(threshold) is None for item in self.objects)

    def iou_at_click(self) -> list[float]:
        """Mean IoU after click 1, 2, ..."""
        return [float(value) for value in np.mean([item.ious for item in self.objects], axis=0)]

    def seconds_per_click(self) -> float:
        """Mean seconds of a prediction."""
        return sum(item.seconds for item in self.objects) / (len(self.objects) * self.max_clicks)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "objects": len(self.objects),
            "noc85": self.noc(0.85),
            "noc90": self.noc(0.90),
            "noc95": self.noc(0.95),
            "nof85": self.failures(0.85),
            "nof90": self.failures(0.90),
            "nof95": self.failures(0.95),
            "iou_at_click": self.iou_at_click(),
            "seconds_per_click": self.seconds_per_click(),
        }

    def to_frame(self) -> pd.DataFrame:
        """One row an object: image_id, category, clicks to each IoU, IoU after the first and last click."""
        rows = [
            {
                "image_id": item.image_id,
                "category": item.category,
                **{
                    f"noc{threshold}": item.clicks_to(threshold / 100) or self.max_clicks
                    for threshold in (85, 90, 95)
                },
                "solved90": item.clicks_to(0.9) is not None,
                "iou_first": item.ious[0],
                "iou_last": item.ious[-1],
            }
            for item in self.objects
        ]
        return pd.DataFrame(rows)


def evaluate(
    segmenter: Segmenter, samples: Sequence[Sample], max_clicks: int = MAX_CLICKS, progress: bool = True
) -> Report:
    """Let the simulated annotator label every sample.

    Args:
        segmenter: what is measured.
        samples: images with the masks wanted.
        max_clicks: clicks an object; all are made, so that the curve has every point.
        progress: show a progress bar.
    """
    if not len(samples):
        raise DatasetError("there is no sample to evaluate on; check the dataset's folder, split and limit")
    bar = tqdm(range(len(samples)), disable=not progress, unit="object", mininterval=2)
    return Report(tuple(label(segmenter, samples[index], max_clicks) for index in bar), max_clicks)


def label(segmenter: Segmenter, sample: Sample, max_clicks: int = MAX_CLICKS) -> ObjectResult:
    """One click session on one object."""
    clicks: list[Click] = []
    previous: Plane | None = None
    mask = np.zeros_like(sample.mask)
    ious: list[float] = []
    seconds = 0.0
    for _ in range(max_clicks):
        click = next_click(mask, sample.mask, sample.ignore, clicks)
        if click is not None:  # else nothing is left to correct, and the mask stays
            clicks.append(click)
            started = time.perf_counter()
            prediction = segmenter.predict(sample.image, clicks, previous)
            seconds += time.perf_counter() - started
            previous, mask = prediction.probability, prediction.mask
        ious.append(intersection_over_union(mask, sample.mask, sample.ignore))
    return ObjectResult(sample.image_id, sample.category, tuple(ious), seconds)


def intersection_over_union(mask: Mask, target: Mask, ignore: Mask | None = None) -> float:
    """IoU of two masks (H, W) bool outside the ignored pixels; 1 when both are empty."""
    valid = np.ones_like(target) if ignore is None else ~ignore
    union = np.count_nonzero((mask | target) & valid)
    return np.count_nonzero(mask & target & valid) / union if union else 1.0
