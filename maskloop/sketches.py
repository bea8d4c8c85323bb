"""Sketch: a mask on a coarse grid, so short that every answer can carry it.

It tells later by how much a person changed the mask, when the mask itself is long forgotten.
"""

import base64
import binascii
import re
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskloop.errors import MaskError
from maskloop.runs import Runs

CELLS = 24
"""Cells of the longer side. With these a sketch takes about 140 characters."""
FULL = 255
"""Share of a cell that is filled."""

_TEXT = re.compile(r"(\d{1,6}):(\d{1,6}):(\d{1,6}):(\d{1,2}):([A-Za-z0-9+/=]{4,2000})")

Shares = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Sketch:
    """How much of each cell a mask fills.

    top, left: where the first cell begins: the corner of the mask's box.
    cell: side of a cell in pixels; with 1 the sketch is the mask itself.
    shares: (rows, columns), at most `CELLS` each; 0 to `FULL`.
    """

    top: int
    left: int
    cell: int
    shares: Shares

    @classmethod
    def of(cls, mask: Runs) -> "Sketch":
        """Sketch a mask; MaskError when it is empty."""
        top, left, bottom, right = mask.box
        if top == bottom:
            raise MaskError("An empty mask has no sketch.")
        cell = -(-max(bottom - top, right - left) // CELLS)
        rows, columns = -(-(bottom - top) // cell), -(-(right - left) // cell)
        return cls(top, left, cell, _shares(mask, top, left, cell, rows, columns)[0])

    @classmethod
    def parse(cls, text: str) -> "Sketch":
        """Read what `str` made of a sketch; MaskError when it is something else."""
        match = _TEXT.fullmatch(text)
        if not match:
            raise MaskError(f"{text[:80]!r} is no sketch of a mask.")
        top, left, cell, columns = map(int, match.groups()[:4])
        try:
            levels = zlib.decompressobj().decompress(base64.b64decode(match[5]), CELLS**2 + 1)
        except (binascii.Error, zlib.error) as error:
            raise MaskError(f"The sketch of a mask is damaged: {error}.") from error
        if not (cell and columns and any(levels)) or len(levels) % columns or len(levels) > CELLS * columns:
            raise MaskError(f"The sketch of a mask is damaged: {len(levels)} cells in {columns} columns.")
        return cls(top, left, cell, np.frombuffer(levels, dtype=np.uint8).reshape(-1, columns))

    def __str__(self) -> str:
        levels = base64.b64encode(zlib.compress(self.shares.tobytes(), 9)).decode("ascii")
        return f"{self.top}:{self.left}:{self.cell}:{self.shares.shape[1]}:{levels}"

    def difference(self, mask: Runs) -> float:
        """1 - IoU of the sketched mask and another of its image.

        It is 0 for the same mask, and exact where a cell is a pixel. Otherwise it may be too small: what is
        taken from a cell and what is added to the same cell are not told apart.
        """
        theirs, area = _shares(mask, self.top, self.left, self.cell, *self.shares.shape)
        common = int(np.minimum(self.shares, theirs).sum(dtype=np.int64))
        outside = (mask.area - area) * FULL / self.cell**2
        both = int(self.shares.sum(dtype=np.int64)) + int(theirs.sum(dtype=np.int64)) + outside
        return 1 - common / (both - common)


def _shares(mask: Runs, top: int, left: int, cell: int, rows: int, columns: int) -> tuple[Shares, int]:
    """How much of each cell is filled, and the pixels of all cells together.

    At the lower and right border a cell may reach beyond the image.
    """
    lines = np.arange(top, min(top + rows * cell, mask.height))
    borders = np.minimum(left + cell * np.arange(columns + 1), mask.width)
    within = np.diff(mask.area_before(lines[:, None] * mask.width + borders), axis=1)
    filled = np.zeros((rows, columns), dtype=np.int64)
    np.add.at(filled, (lines - top) // cell, within)
    # however little a cell holds, it is not nothing: a thin line would vanish
    levels = np.maximum(np.rint(filled * (FULL / cell**2)), filled > 0)
    return levels.astype(np.uint8), int(filled.sum())
