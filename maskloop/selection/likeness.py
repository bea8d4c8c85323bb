"""Likeness: how much a label of one image says about another, from their descriptors."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

DIMENSIONS = 32
"""Directions of most spread that are kept of the descriptors."""
REACH = 0.05
"""Share of the images that lies nearer to one than the width of its likeness."""


@dataclass(frozen=True)
class Likeness:
    """Points of images, and the width of the bell that makes distances a likeness in 0..1."""

    points: Array
    width: float

    def between(self, ones: npt.NDArray[np.intp], others: npt.NDArray[np.intp]) -> Array:
        """(len(ones), len(others)): 1 for images alike, towards 0 for those that have nothing in common."""
        squared = _squared_distances(self.points[ones], self.points[others])
        return np.exp(-squared / (2 * self.width**2))


def likeness(descriptors: Array, witnesses: npt.NDArray[np.intp]) -> Likeness:
    """Likeness of images by their descriptors (N, D), of which `witnesses` set the width.

    Every channel counts alike; what several channels say together counts once.
    """
    scaled = (descriptors - descriptors.mean(axis=0)) / np.maximum(descriptors.std(axis=0), 1e-6)
    scaled = scaled.astype(np.float32)
    _, axes = np.linalg.eigh((scaled.T @ scaled).astype(np.float64))
    points = scaled @ axes[:, ::-1][:, :DIMENSIONS].astype(np.float32)
    squared = _squared_distances(points[witnesses], points[witnesses])
    rank = min(len(witnesses) - 1, max(1, round(REACH * len(witnesses))))
    near = np.partition(squared, rank, axis=1)[:, rank]
    return Likeness(points, max(float(np.sqrt(np.median(near))), 1e-6))


def _squared_distances(ones: Array, others: Array) -> Array:
    squared = (ones**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * ones @ others.T
    return np.maximum(squared, 0)
