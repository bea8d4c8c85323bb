"""The zoomed regions of the cascade for a batch of square views, without a loop over its items.

As `crops.zoom_region`, whose rules and pixel mapping these are, but square: all windows of a batch are shown
to the network at one size, that of the views unless another is asked for. A window never leaves its view, so
the network never sees invented pixels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from maskloop.crops import MIN_SIDE

ZOOM_THRESHOLD = 0.5
"""Probability above which a pixel of the coarse mask is zoomed in on, as the predictor does."""


@dataclass(frozen=True)
class Windows:
    """Square windows of views of S x S pixels, one an item: first row, first column and side, (B,) int64."""

    top: Tensor
    left: Tensor
    side: Tensor

    def crop(self, maps: Tensor, size: int | None = None) -> Tensor:
        """Windows of maps (B, C, S, S) at a size, (B, C, size, size), bilinear."""
        size = size or maps.shape[-1]
        side = self.side[:, None]
        steps = (_centres(size, maps) * side / size - 0.5).clamp(min=0)
        # beyond the outermost pixel centres a crop has nothing to interpolate with, as when it is cut out
        steps = torch.minimum(steps, (side - 1).to(steps.dtype))
        return _sample(maps, self.top[:, None] + steps, self.left[:, None] + steps)

    def crop_labels(self, labels: Tensor, size: int | None = None) -> Tensor:
        """Windows of labels (B, S, S) at a size, (B, size, size), the nearest label each."""
        size = size or labels.shape[-1]
        # whole numbers throughout: (i + 1/2) * side / size, rounded down
        doubled = 2 * torch.arange(size, device=labels.device) + 1
        steps = doubled * self.side[:, None] // (2 * size)
        rows, cols = self.top[:, None] + steps, self.left[:, None] + steps
        item = torch.arange(labels.shape[0], device=labels.device)[:, None, None]
        return labels[item, rows[:, :, None], cols[:, None, :]]

    def clicks(self, clicks: Tensor, size: int) -> Tensor:
        """Clicks (B, N, 3) in coordinates of windows shown at `size` pixels; all are kept."""
        start = torch.stack([self.top, self.left], dim=-1)[:, None]
        scale = size / self.side[:, None, None]
        mapped = (clicks[..., :2] - start + 0.5) * scale - 0.5
        return torch.cat([mapped, clicks[..., 2:]], dim=-1)

    def paste(self, result: Tensor, onto: Tensor) -> Tensor:
        """Results (B, 1, size, size) at their windows' places over (B, 1, S, S)."""
        size = result.shape[-1]
        pixel = torch.arange(onto.shape[-1], device=onto.device)
        offsets = [pixel - start[:, None] for start in (self.top, self.left)]
        scale = size / self.side[:, None]
        rows, cols = (((offset + 0.5) * scale - 0.5).clamp(0, size - 1) for offset in offsets)
        down, across = ((offset >= 0) & (offset < self.side[:, None]) for offset in offsets)
        within = (down[:, :, None] & across[:, None, :])[:, None]
        return torch.where(within, _sample(result, rows, cols), onto)


def zoom_windows(probability: Tensor, clicks: Tensor) -> Windows:
    """Where the fine network looks, from the coarse mask and the positive clicks.

    Args:
        probability: of the coarse mask, (B, 1, S, S); an item without a pixel above the threshold is shown
            whole.
        clicks: (B, N, 3).
    """
    mask = probability[:, 0] > ZOOM_THRESHOLD
    size = mask.shape[-1]
    rows, cols, signs = clicks.double().unbind(-1)
    top, bottom = _extent(mask.any(dim=2), rows, signs > 0)
    left, right = _extent(mask.any(dim=1), cols, signs > 0)
    share = (bottom - top) * (right - left) / size**2
    factor = (2.5 - 4 * share.sqrt()).clamp(min=1.4)
    first_row, last_row = _expand(top, bottom, factor, size)
    first_col, last_col = _expand(left, right, factor, size)
    side = torch.maximum(last_row - first_row, last_col - first_col)
    side = torch.where(mask.flatten(1).any(dim=1), side, size)
    return Windows(_widen(first_row, last_row, side, size), _widen(first_col, last_col, side, size), side)


def _extent(covered: Tensor, coordinates: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """First and last of the covered lines (B, S) and of the positive clicks (B, N), (B,) each."""
    lines = torch.arange(covered.shape[1], device=covered.device, dtype=coordinates.dtype).expand_as(covered)
    places = torch.cat([lines, coordinates], dim=1)
    counts = torch.cat([covered, positive], dim=1)
    first = places.masked_fill(~counts, float("inf")).amin(dim=1)
    last = places.masked_fill(~counts, float("-inf")).amax(dim=1)
    known = counts.any(dim=1)
    return torch.where(known, first, 0), torch.where(known, last, 0)


def _expand(first: Tensor, last: Tensor, factor: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Expand ranges about their centres and keep them inside 0..size; start and exclusive end."""
    half = ((last - first + 1) * factor).clamp(min=MIN_SIDE) / 2
    centre = (first + last + 1) / 2
    return (centre - half).round().clamp(min=0).long(), (centre + half).round().clamp(max=size).long()


def _widen(first: Tensor, last: Tensor, side: Tensor, size: int) -> Tensor:
    """Start of the ranges widened to `side` about their centres, and moved into 0..size."""
    start = first - (side - (last - first)) // 2
    return torch.minimum(start.clamp(min=0), size - side)


def _centres(size: int, like: Tensor) -> Tensor:
    return torch.arange(size, device=like.device, dtype=torch.float) + 0.5


def _sample(maps: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """Maps (B, C, S, S) at every pair of a row (B, M) and a column (B, N), bilinear: (B, C, M, N)."""
    size = maps.shape[-1]
    down, across = ((2 * places + 1) / size - 1 for places in (rows.float(), cols.float()))
    grid = torch.stack(torch.broadcast_tensors(across[:, None, :], down[:, :, None]), dim=-1)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)
