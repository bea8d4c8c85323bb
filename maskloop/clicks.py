"""Clicks: what a person gives, how the network sees them, and an annotator simulated from the truth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maskloop.arrays import Mask
from maskloop.distance import squared_distance
from maskloop.errors import ClickError

Depth = npt.NDArray[np.int32]
"""(H, W), squared distances in pixels."""

DISK_RADIUS = 5.0
"""Radius of a click's disk in pixels of the network's input (arXiv 2203.05145, as in RITM)."""


@dataclass(frozen=True)
class Click:
    """A point that belongs to the object (positive) or does not.

    Coordinates are pixels of the image; an integer names the centre of that pixel.
    """

    row: float
    col: float
    positive: bool = True


def check_clicks(clicks: Sequence[Click], height: int, width: int) -> None:
    """Raise ClickError when a click is not inside an image of this size."""
    for number, click in enumerate(clicks, start=1):
        # written so that NaN is refused too
        if not (-0.5 <= click.row < height - 0.5 and -0.5 <= click.col < width - 0.5):
            raise ClickError(
                f"click {number} (row {click.row}, column {click.col}) is outside the image of "
                f"{height} rows and {width} columns; give rows 0 to {height - 1}, columns 0 to {width - 1}"
            )


def stack_clicks(batch: Sequence[Sequence[Click]]) -> Tensor:
    """Pad the clicks of several images to one tensor.

    Returns:
        (B, N, 3): row, column, sign; the sign is +1 positive, -1 negative, 0 an empty slot. N is at least 1.
    """
    slots = max(1, *(len(clicks) for clicks in batch)) if batch else 1
    stacked = torch.zeros(len(batch), slots, 3)
    for item, clicks in enumerate(batch):
        for slot, click in enumerate(clicks):
            stacked[item, slot] = torch.tensor([click.row, click.col, 1.0 if click.positive else -1.0])
    return stacked


def disk_maps(clicks: Tensor, height: int, width: int, radius: float = DISK_RADIUS) -> Tensor:
    """Draw the clicks as filled disks. Source: RITM; a click outside the image draws nothing.

    Args:
        clicks: (B, N, 3): row, column, sign.
        height: rows of the maps.
        width: columns of the maps.
        radius: of the disks, in pixels.

    Returns:
        (B, 2, H, W) float: positive disks, negative disks, each 0 or 1.
    """
    rows, cols, signs = drop_outside(clicks, height, width).unbind(-1)
    row_offset = torch.arange(height, device=clicks.device)[None, None] - rows[..., None]
    col_offset = torch.arange(width, device=clicks.device)[None, None] - cols[..., None]
    near = row_offset.square()[..., :, None] + col_offset.square()[..., None, :] <= radius * radius
    maps = [(near & (signs == sign)[..., None, None]).any(dim=1) for sign in (1, -1)]
    return torch.stack(maps, dim=1).float()


def drop_outside(clicks: Tensor, height: int, width: int) -> Tensor:
    """Empty the slots of clicks outside the image; clicks and result (B, N, 3)."""
    rows, cols, signs = clicks.unbind(-1)
    return torch.stack([rows, cols, signs * inside(rows, cols, height, width)], dim=-1)


def inside(rows: Tensor, cols: Tensor, height: int, width: int) -> Tensor:
    """Whether the pixel nearest to a coordinate lies in the image; bool, shape of `rows`."""
    row, col = (rows + 0.5).floor(), (cols + 0.5).floor()
    return (row >= 0) & (row < height) & (col >= 0) & (col < width)


def squared_depth(region: Mask) -> Depth:
    """Squared distance to the nearest pixel outside a region, (H, W) integers; see `squared_distance`."""
    depth: Depth = squared_distance(torch.from_numpy(np.ascontiguousarray(region))).numpy()
    return depth


def next_click(
    prediction: Mask,
    target: Mask,
    ignore: Mask | None = None,
    clicked: Sequence[Click] = (),
    depth: Callable[[Mask], Depth] = squared_depth,
) -> Click | None:
    """The next click of the simulated annotator (RITM's protocol, arXiv 2102.06583).

    It is the most interior pixel of the larger error: of the missed and the wrongly covered region the one
    with the larger inscribed circle, positive for a missed one. Ties go to the first pixel row by row; missed
    against wrong: negative.

    Args:
        prediction: mask now, (H, W) bool.
        target: mask wanted, (H, W) bool.
        ignore: pixels that count for nothing, (H, W) bool.
        clicked: clicks already made; their pixels are not clicked again.
        depth: what computes squared distances; another one must give the same integers.

    Returns:
        The click, or None when no pixel is wrong that was not clicked before.
    """
    valid = np.ones_like(target) if ignore is None else ~ignore
    missed = _interior(target & ~prediction & valid, clicked, depth)
    wrong = _interior(prediction & ~target & valid, clicked, depth)
    positive = missed.depth > wrong.depth
    error = missed if positive else wrong
    return Click(error.row, error.col, positive) if error.depth > 0 else None


@dataclass(frozen=True)
class _Interior:
    depth: int
    row: int = 0
    col: int = 0


def _interior(region: Mask, clicked: Sequence[Click], measure: Callable[[Mask], Depth]) -> _Interior:
    """The pixel of a region farthest from its outside, clicked pixels left out."""
    rows, cols = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    if not rows.size:
        return _Interior(0)
    top, left = int(rows[0]), int(cols[0])
    box = region[top : rows[-1] + 1, left : cols[-1] + 1]
    # beyond its bounding box nothing belongs to the region, which is what the transform assumes of a border
    depth = measure(box)
    for click in clicked:
        row, col = int(np.floor(click.row + 0.5)) - top, int(np.floor(click.col + 0.5)) - left
        if 0 <= row < depth.shape[0] and 0 <= col < depth.shape[1]:
            depth[row, col] = 0
    index = int(depth.argmax())
    row, col = divmod(index, depth.shape[1])
    return _Interior(int(depth.flat[index]), row + top, col + left)
