"""Merging: a correction goes into a mask where its click asks for it, and nowhere else.

A network that is shown an old mask and one more click answers with a new mask of the whole object, and the
border moves a little everywhere. A person who corrects one place of a good mask wants the rest left alone. So
of what changed, only the piece about the click is taken: FocalClick's progressive merge (arXiv 2204.02574).
"""

import cv2
import numpy as np
import numpy.typing as npt

from maskloop.arrays import Mask
from maskloop.clicks import Click

THIN = 0.01
"""Of the old mask's longer side: strips along the border as thin as this do not join what a click changes."""


def merge_correction(before: Mask, after: Mask, click: Click) -> Mask:
    """The mask before a click with what the click changed.

    Args:
        before: (H, W) bool.
        after: what the network made of it, (H, W) bool.
        click: the newest; a positive one only adds, a negative one only takes away.

    Returns:
        (H, W) bool; `before` itself where the click and the network agree with it.
    """
    row, col = round(click.row), round(click.col)
    if before[row, col] == click.positive:
        return before
    change = after & ~before if click.positive else before & ~after
    piece = _piece_at(change, row, col, _thin(before))
    return before | piece if click.positive else before & ~piece


def _thin(mask: Mask) -> int:
    """Radius in pixels of what counts as thin."""
    sides = [np.flatnonzero(mask.any(axis=axis)) for axis in (0, 1)]
    return max(1, round(THIN * max((side[-1] - side[0] + 1 for side in sides if side.size), default=0)))


def _piece_at(change: Mask, row: int, col: int, radius: int) -> Mask:
    """The connected piece of a change that holds a pixel, cut off from others where only thin strips lead."""
    if not change[row, col]:
        return np.zeros_like(change)
    core = cv2.erode(change.astype(np.uint8), _disc(radius))
    core[row, col] = 1  # a correction may be thin itself
    _, labels = cv2.connectedComponents(core)
    # half a radius farther than it was worn away, or discs would round its corners
    reached = cv2.dilate((labels == labels[row, col]).astype(np.uint8), _disc(radius + (radius + 1) // 2))
    joined: Mask = (reached > 0) & change
    _, pieces = cv2.connectedComponents(joined.astype(np.uint8))
    piece: Mask = pieces == pieces[row, col]
    return piece


def _disc(radius: int) -> npt.NDArray[np.uint8]:
    side = 2 * radius + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)
