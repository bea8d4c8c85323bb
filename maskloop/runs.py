"""Runs: a mask as its runs of equal pixels, which is what the forms that travel are made of."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskloop.arrays import Mask
from maskloop.errors import MaskError

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Runs:
    """A mask row by row: small, and a pixel is looked up without the others.

    `ends` is where each run stops, as the number of pixels up to there; `filled` whether it is of the mask.
    """

    height: int
    width: int
    ends: Integers
    filled: Mask

    @classmethod
    def of(cls, mask: Mask) -> "Runs":
        """Raises MaskError when the mask has no pixels or not two dimensions."""
        flat = check_mask(mask).ravel()
        ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, flat.size)
        return cls(mask.shape[0], mask.shape[1], ends, flat[ends - 1])

    @property
    def nbytes(self) -> int:
        return self.ends.nbytes + self.filled.nbytes

    @property
    def area(self) -> int:
        """Pixels of the mask."""
        return int(np.diff(self.ends, prepend=0)[self.filled].sum())

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(top, left, bottom, right) of the mask, bottom and right exclusive; zeros if it is empty."""
        starts, ends = np.append(0, self.ends[:-1])[self.filled], self.ends[self.filled]
        if not len(ends):
            return 0, 0, 0, 0
        rows, last_rows = starts // self.width, (ends - 1) // self.width
        one_row = rows == last_rows
        left = np.where(one_row, starts % self.width, 0).min()
        right = np.where(one_row, (ends - 1) % self.width + 1, self.width).max()
        return int(rows[0]), int(left), int(last_rows[-1]) + 1, int(right)

    def area_before(self, places: Integers) -> Integers:
        """Pixels of the mask that come before each place, row by row; a place is `row * width + col`."""
        lengths = np.diff(self.ends, prepend=0)
        areas = np.append(0, np.cumsum(np.where(self.filled, lengths, 0)))  # up to each end
        run = np.minimum(np.searchsorted(self.ends, places), len(self.ends) - 1)
        beyond = np.where(self.filled[run], self.ends[run] - places, 0)
        before: Integers = areas[run + 1] - beyond
        return before

    def intersection_over_union(self, other: "Runs") -> float:
        """IoU of two masks of one image; 1 where both are empty."""
        ends = np.union1d(self.ends, other.ends)
        one = self.filled[np.searchsorted(self.ends, ends)]
        two = other.filled[np.searchsorted(other.ends, ends)]
        lengths = np.diff(ends, prepend=0)
        union = int(lengths[one | two].sum())
        return int(lengths[one & two].sum()) / union if union else 1.0

    def mask(self) -> Mask:
        """Pixels of the mask, (height, width) bool."""
        filled: Mask = np.repeat(self.filled, np.diff(self.ends, prepend=0))
        return filled.reshape(self.height, self.width)

    def contains(self, row: int, col: int) -> bool:
        """Whether a pixel of the image is in the mask."""
        return bool(self.filled[np.searchsorted(self.ends, row * self.width + col, side="right")])


def check_mask(mask: Mask) -> Mask:
    """The mask as bool; MaskError when it has no pixels or not two dimensions."""
    mask = np.asarray(mask, dtype=bool)
    if mask.ndim != 2 or mask.size == 0:
        raise MaskError(f"A mask is (height, width) with at least one pixel, not of shape {mask.shape}.")
    return mask
