"""Images whose difficulty and looks are known, and a segmenter that is as sure of them as they are easy."""

from collections.abc import Sequence

import numpy as np

from maskloop.arrays import Image
from maskloop.predictor import Prediction, Request
from maskloop.selection import SIGNALS, Calibration, Profile

HEIGHT, WIDTH = 32, 48


def image(doubt: int, looks: Sequence[int] = (0, 0)) -> Image:
    """Red says how unsure the segmenter is of it (0..100), green and blue what it looks like."""
    return np.broadcast_to(np.array([doubt, *looks], np.uint8), (HEIGHT, WIDTH, 3)).copy()


class Striped:
    """Its mask is the left half, with a probability of 1 - doubt / 200; it counts what it was asked."""

    def __init__(self) -> None:
        self.asked = self.described = 0

    def predict_batch(self, requests: Sequence[Request]) -> list[Prediction]:
        self.asked += len(requests)
        return [self._prediction(request) for request in requests]

    def _prediction(self, request: Request) -> Prediction:
        doubt = float(request.pixels[0, 0, 0]) / 200
        plane = np.full(request.pixels.shape[:2], doubt, np.float32)
        plane[:, : plane.shape[1] // 2] = 1 - doubt
        return Prediction(plane)

    def describe(self, images: Sequence[Image]) -> list[np.ndarray]:
        self.described += len(images)
        return [one[0, 0, 1:].astype(np.float32) for one in images]


def profile_of(clicks: float, looks: Sequence[float]) -> Profile:
    """A profile from which `READS_CONFIDENCE` expects so many clicks."""
    probes = np.zeros((2, len(SIGNALS)), np.float32)
    probes[:, 0] = clicks
    return Profile(probes, 0.0, np.array(looks, np.float32))


_FEATURES = len(SIGNALS)
READS_CONFIDENCE = Calibration(
    mean=(0.0,) * _FEATURES,
    spread=(100.0,) * _FEATURES,
    weights=(100.0, *(0.0,) * (_FEATURES - 1)),
    clicks=0.0,
    images=20,
)
"""Expects as many clicks as the mean of the first signal says."""

READS_DOUBT = Calibration(
    mean=(0.0,) * _FEATURES,
    spread=(1.0,) * _FEATURES,
    weights=(-20.0, *(0.0,) * (_FEATURES - 1)),
    clicks=21.0,
    images=20,
)
"""Expects 1 click where `Striped` has no doubt, and 11 where its doubt is 100."""
