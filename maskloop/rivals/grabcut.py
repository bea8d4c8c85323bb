"""OpenCV's grabCut, given every help that clicks can give.

Disks around the clicks are certain pixels, the mask before is likely object, and for the first click a circle
of a fifth of the image.
"""

import contextlib
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from maskloop.arrays import Image, Plane
from maskloop.clicks import DISK_RADIUS, Click
from maskloop.predictor import Prediction


class GrabCut:
    """OpenCV's grabCut as a segmenter; works at a reduced size, since its time grows with the pixels."""

    version = f"grabcut-opencv-{cv2.__version__}"

    def __init__(self, long_side: int = 320, iterations: int = 3) -> None:
        self._long_side = long_side
        self._iterations = iterations

    def predict(self, image: Image, clicks: Sequence[Click], previous: Plane | None = None) -> Prediction:
        """Image (H, W, 3) uint8, clicks so far, previous probability (H, W)."""
        height, width = image.shape[:2]
        scale = min(1.0, self._long_side / max(height, width))
        size = (round(width * scale), round(height * scale))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        labels = self._labels(size, clicks, previous, scale)
        cv2.setRNGSeed(0)  # its colour models start at random; the same arguments shall give the same mask
        # when one of the two colour models gets no sample, the labels stand as they are
        with contextlib.suppress(cv2.error):
            cv2.grabCut(
                small,
                labels,
                (0, 0, 0, 0),  # no rectangle
                np.zeros((1, 65)),
                np.zeros((1, 65)),
                self._iterations,
                cv2.GC_INIT_WITH_MASK,
            )
        probability = ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.float32)
        return Prediction(cv2.resize(probability, (width, height)))

    @staticmethod
    def _labels(
        size: tuple[int, int], clicks: Sequence[Click], previous: Plane | None, scale: float
    ) -> npt.NDArray[np.uint8]:
        labels = np.full((size[1], size[0]), cv2.GC_PR_BGD, np.uint8)
        if previous is None:
            for click in clicks:
                cv2.circle(labels, _point(click, scale), min(size) // 5, cv2.GC_PR_FGD, -1)
        else:
            labels[cv2.resize(previous, size) > 0.5] = cv2.GC_PR_FGD
        for click in clicks:
            certain = cv2.GC_FGD if click.positive else cv2.GC_BGD
            cv2.circle(labels, _point(click, scale), round(DISK_RADIUS * scale), certain, -1)
        return labels


def _point(click: Click, scale: float) -> tuple[int, int]:
    return round((click.col + 0.5) * scale - 0.5), round((click.row + 0.5) * scale - 0.5)
