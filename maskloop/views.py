"""Training views: square crops of a scene around one object, at the scales of the predictor's two passes."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

ZOOM_SHARE = 0.6
"""Share of views that zoom in on the object, as the second pass does; the others show most of the image."""
MERGE_SHARE = 0.15
"""Share of targets that are the union of two objects."""
PASTE_SHARE = 0.2
"""Share of views with another view's object pasted in: only the clicks tell which object is meant."""
MIN_PIXELS = 40
"""A target with fewer pixels in the view is drawn again."""


@dataclass(frozen=True)
class Scene:
    """One image with its objects: image (3, H, W) uint8, masks (K, H, W) bool."""

    image: Tensor
    masks: Tensor


@dataclass(frozen=True)
class View:
    """A batch or one item: image (3, S, S) in 0..1, target (S, S) in {1, 0, -1}, others (S, S) bool."""

    image: Tensor
    target: Tensor
    others: Tensor


def draw_view(scene: Scene, size: int, generator: Generator) -> View | None:
    """A random view of a random object; None when the crop left too little of the object."""
    target, others = _choose(scene.masks, generator)
    top, left, side = _square(target, generator)
    window = (slice(top, top + side), slice(left, left + side))
    image = scene.image[:, window[0], window[1]].float() / 255
    image = F.interpolate(image[None], (size, size), mode="bilinear", antialias=True)[0].clamp(0, 1)
    planes = torch.stack([target[window], others[window]]).float()
    planes = F.interpolate(planes[None], (size, size), mode="bilinear", antialias=True)[0] > 0.5
    if int(planes[0].sum()) < MIN_PIXELS:
        return None
    return View(image, planes[0].long(), planes[1] & ~planes[0])


def stack_views(views: list[View]) -> View:
    """One batch of equal-sized views."""
    return View(
        torch.stack([view.image for view in views]),
        torch.stack([view.target for view in views]),
        torch.stack([view.others for view in views]),
    )


def augment(batch: View, generator: Generator) -> View:
    """Flip, change brightness, contrast and colour, and paste objects of other items."""
    return _jitter(_paste(_flip(batch, generator), generator), generator)


def _choose(masks: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Target and the union of the others, (H, W) bool each."""
    count = masks.shape[0]
    order = torch.randperm(count, generator=generator)
    merged = 2 if count > 1 and _chance(MERGE_SHARE, generator) else 1
    target = masks[order[:merged]].any(dim=0)
    return target, masks[order[merged:]].any(dim=0)


def _square(target: Tensor, generator: Generator) -> tuple[int, int, int]:
    """Top, left and side of a square crop, inside the image, around the object where it fits."""
    height, width = target.shape
    rows, cols = target.any(dim=1).nonzero()[:, 0], target.any(dim=0).nonzero()[:, 0]
    first, last = (int(rows[0]), int(cols[0])), (int(rows[-1]), int(cols[-1]))
    extent = max(last[0] - first[0], last[1] - first[1]) + 1
    draw = float(torch.rand((), generator=generator))
    zoomed = _chance(ZOOM_SHARE, generator)
    side = extent * (1.15 + 1.35 * draw) if zoomed else min(height, width) * (0.7 + 0.3 * draw)
    side = max(32, min(round(side), height, width))
    top = _place_window(first[0], last[0], side, height, generator)
    left = _place_window(first[1], last[1], side, width, generator)
    return top, left, min(side, height, width)


def _place_window(first: int, last: int, side: int, size: int, generator: Generator) -> int:
    """Start of a window that holds first..last, or lies within it when it is smaller."""
    low, high = sorted((last + 1 - side, first))
    low, high = max(0, min(low, size - side)), max(0, min(high, size - side))
    return int(torch.randint(low, high + 1, (1,), generator=generator))


def _flip(batch: View, generator: Generator) -> View:
    flips = torch.rand(batch.target.shape[0], generator=generator) < 0.5
    keep = ~flips.to(batch.image.device)
    return View(
        torch.where(keep[:, None, None, None], batch.image, batch.image.flip(-1)),
        torch.where(keep[:, None, None], batch.target, batch.target.flip(-1)),
        torch.where(keep[:, None, None], batch.others, batch.others.flip(-1)),
    )


def _paste(batch: View, generator: Generator) -> View:
    """Paste the next item's object; the target becomes that object or stays what is left of its own."""
    count = batch.target.shape[0]
    cut = batch.target.roll(1, 0) == 1
    draws = torch.rand(2, count, generator=generator).to(batch.image.device)
    left_over = ((batch.target == 1) & ~cut).flatten(1).sum(dim=1)
    paste = (draws[0] < PASTE_SHARE) & (left_over >= MIN_PIXELS)
    cut = cut & paste[:, None, None]
    image = torch.where(cut[:, None], batch.image.roll(1, 0), batch.image)
    own = (batch.target == 1) & ~cut
    take = (paste & (draws[1] < 0.5))[:, None, None]
    target = torch.where(cut & take, 1, torch.where(own & ~take, 1, 0))
    others = (batch.others & ~cut) | torch.where(take, own, cut)
    return View(image, target, others & (target == 0))


def _jitter(batch: View, generator: Generator) -> View:
    count = batch.image.shape[0]
    draws = torch.rand(count, 5, 1, 1, generator=generator).to(batch.image.device)
    contrast = 0.8 + 0.5 * draws[:, 0:1]
    brightness = (draws[:, 1:2] - 0.5) * 0.3
    colour = (draws[:, 2:5] - 0.5) * 0.1
    return View(
        ((batch.image - 0.5) * contrast + 0.5 + brightness + colour).clamp(0, 1), batch.target, batch.others
    )


def _chance(share: float, generator: Generator) -> bool:
    return float(torch.rand((), generator=generator)) < share
