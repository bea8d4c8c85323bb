"""Crops: a window of an image at the resolution of the network, and the way there and back.

Pixels and clicks are mapped alike: coordinate x becomes (x - start + 0.5) * scale - 0.5, which is how
bilinear resizing places pixel centres.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from maskloop.arrays import Image, Mask
from maskloop.clicks import Click

STEP = 32
"""Sizes are multiples of this: the encoder halves five times, and few shapes keep plans cached."""
MIN_SIDE = 48
"""Smallest side of a zoomed window in image pixels: closer than that there is nothing left to see."""
RITM_EXPANSION = 1.4
RITM_MIN_SIDE = 200
FOCUS_EXPANSION = 1.75
"""How much wider than the change the focus view is (FocusCut)."""


class Window(NamedTuple):
    """Pixels `top:bottom, left:right` of an image."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the window in an array."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left

    def moved(self, down: int, across: int) -> "Window":
        """The window that many pixels further down and to the right."""
        return Window(self.top + down, self.left + across, self.bottom + down, self.right + across)

    def within(self, other: "Window") -> "Window | None":
        """What both have in common."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom, right = min(self.bottom, other.bottom), min(self.right, other.right)
        return Window(top, left, bottom, right) if top < bottom and left < right else None


@dataclass(frozen=True)
class Crop:
    """Window `top:bottom, left:right` of an image, shown to the network as `height` x `width` pixels."""

    top: int
    left: int
    bottom: int
    right: int
    height: int
    width: int

    @property
    def window(self) -> Window:
        """What is shown."""
        return Window(self.top, self.left, self.bottom, self.right)

    def image(self, image: Image) -> Tensor:
        """Image (H, W, 3) uint8 to network input (1, 3, height, width) float in 0..1."""
        window = torch.from_numpy(np.ascontiguousarray(image[self.window.slices])).permute(2, 0, 1)[None]
        if window.shape[-2:] != (self.height, self.width):
            window = F.interpolate(window, (self.height, self.width), mode="bilinear", antialias=True)
        return window.float() / 255

    def clicks(self, clicks: Sequence[Click]) -> list[Click]:
        """Clicks in coordinates of the network input; those outside the window stay outside."""
        down = self.height / (self.bottom - self.top)
        across = self.width / (self.right - self.left)
        return [
            Click(
                (click.row - self.top + 0.5) * down - 0.5,
                (click.col - self.left + 0.5) * across - 0.5,
                click.positive,
            )
            for click in clicks
        ]


def full_region(height: int, width: int, long_side: int) -> Crop:
    """The whole image with its longer side at `long_side`."""
    return Crop(0, 0, height, width, *network_size(height, width, long_side))


def zoom_region(
    extent: Window | None, shape: tuple[int, int], clicks: Sequence[Click], long_side: int
) -> Crop:
    """The region that the second pass zooms in on (CSFPN, arXiv 2203.05145).

    The box around the mask and the positive clicks is expanded about its centre, the more the smaller it is:
    2.5 times for a tiny object, 1.4 times from 7.6 % of the image on. With an empty mask there is nothing to
    zoom on, and the region is the whole image.

    Args:
        extent: of the first pass's mask; None if it is empty.
        shape: rows and columns of the image.
        clicks: in image coordinates.
        long_side: the region's longer side as the network sees it, in pixels.
    """
    if extent is None:
        return full_region(*shape, long_side)
    box = _box(extent, clicks)
    share = (box.bottom - box.top) * (box.right - box.left) / (shape[0] * shape[1])
    return _around(box, max(1.4, 2.5 - 4 * share**0.5), MIN_SIDE, shape, long_side)


def ritm_region(
    extent: Window | None, shape: tuple[int, int], clicks: Sequence[Click], long_side: int
) -> Crop:
    """The region that RITM zooms in on (arXiv 2102.06583): 1.4 times the box, at least 200 pixels a side.

    RITM keeps a region until a new one overlaps it by less than half; here it is made anew at each click, as
    the predictor keeps nothing between calls. Arguments as for `zoom_region`.
    """
    if extent is None:
        return full_region(*shape, long_side)
    return _around(_box(extent, clicks), RITM_EXPANSION, RITM_MIN_SIDE, shape, long_side)


def focus_region(before: Mask, after: Mask, click: Click, long_side: int) -> Crop | None:
    """The focus view: a square about the newest click as wide as what it changed (FocusCut, CVPR 2022).

    Args:
        before: mask before the click, (H, W) bool.
        after: mask that the first passes made of it, (H, W) bool.
        click: the newest.
        long_side: the view's side as the network sees it, in pixels.

    Returns:
        The region, or None where the click changed nothing.
    """
    rows, cols = np.nonzero(before ^ after)
    if not rows.size:
        return None
    radius = float(max(np.abs(rows - click.row).max(), np.abs(cols - click.col).max()))
    point = _Box(click.row, click.col, click.row, click.col)
    return _around(point, 1.0, round(2 * FOCUS_EXPANSION * radius) + MIN_SIDE, before.shape, long_side)


def mask_extent(mask: Mask) -> Window | None:
    """The smallest window around the pixels of a mask (H, W) bool; None if it is empty."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return Window(int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1)


def network_size(height: int, width: int, long_side: int) -> tuple[int, int]:
    """Height and width with the longer side near `long_side`, both multiples of 32."""
    scale = long_side / max(height, width)
    return _round(height * scale), _round(width * scale)


def network_sizes(long_side: int) -> set[tuple[int, int]]:
    """Every height and width that `network_size` can give at this longer side."""
    longer = _round(long_side)
    shorter = range(STEP, longer + 1, STEP)
    return {(longer, side) for side in shorter} | {(side, longer) for side in shorter}


def _round(size: float) -> int:
    return max(STEP, round(size / STEP) * STEP)


@dataclass(frozen=True)
class _Box:
    top: float
    left: float
    bottom: float
    right: float


def _box(extent: Window, clicks: Sequence[Click]) -> _Box:
    """The first and last row and column of the mask and the positive clicks."""
    positive = [click for click in clicks if click.positive]
    return _Box(
        min([float(extent.top), *(click.row for click in positive)]),
        min([float(extent.left), *(click.col for click in positive)]),
        max([float(extent.bottom - 1), *(click.row for click in positive)]),
        max([float(extent.right - 1), *(click.col for click in positive)]),
    )


def _around(box: _Box, factor: float, least: float, shape: tuple[int, ...], long_side: int) -> Crop:
    """The box expanded about its centre, no smaller than `least`, inside an image of this shape."""
    first_row, last_row = _expand(box.top, box.bottom, factor, least, shape[0])
    first_col, last_col = _expand(box.left, box.right, factor, least, shape[1])
    size = network_size(last_row - first_row, last_col - first_col, long_side)
    return Crop(first_row, first_col, last_row, last_col, *size)


def _expand(first: float, last: float, factor: float, least: float, size: int) -> tuple[int, int]:
    """Expand a range about its centre and keep it inside 0..size; start and exclusive end."""
    half = max((last - first + 1) * factor, least) / 2
    centre = (first + last + 1) / 2
    return max(0, round(centre - half)), min(size, round(centre + half))
