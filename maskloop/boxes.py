"""Boxes around an object: a rough mask for our network, two corners for one that knows boxes."""

from collections.abc import Sequence

import numpy as np

from maskloop.canvas import Canvas, Patch
from maskloop.clicks import Click
from maskloop.crops import Crop, Window
from maskloop.errors import ClickError

Box = tuple[float, float, float, float]
"""Top, left, bottom, right in pixels of the image; bottom and right are the first beyond it."""

MARGIN = 0.05
"""How far a mask may leave its box, as a share of the box: people draw boxes tightly."""


def clip_box(box: Box, height: int, width: int) -> Box:
    """The part of a box inside an image of this size; ClickError when there is none."""
    top, left, bottom, right = max(0.0, box[0]), max(0.0, box[1]), min(box[2], height), min(box[3], width)
    if not (bottom - top >= 1 and right - left >= 1):
        raise ClickError(f"the box {box} covers no pixel of the image of {height} rows and {width} columns")
    return top, left, bottom, right


def fill_box(box: Box, clicks: Sequence[Click], start: Canvas) -> tuple[Sequence[Click], Canvas]:
    """The filled box as previous mask where there is none, its centre as a click when none is positive."""
    top, left, bottom, right = box
    if not start.any():
        filled = Window(round(top), round(left), round(bottom), round(right))
        start = start.painted(Patch.of(Crop(*filled, *filled.size), np.ones(filled.size, np.float32)))
    if not any(click.positive for click in clicks):
        clicks = [Click((top + bottom - 1) / 2, (left + right - 1) / 2), *clicks]
    return clicks, start


def box_corners(box: Box) -> list[Click]:
    """The first and the last pixel of a box."""
    top, left, bottom, right = box
    return [Click(top, left), Click(bottom - 1, right - 1)]


def widen_box(box: Box) -> Window:
    """What a mask may cover."""
    top, left, bottom, right = box
    down, across = MARGIN * (bottom - top), MARGIN * (right - left)
    return Window(round(top - down), round(left - across), round(bottom + down), round(right + across))
