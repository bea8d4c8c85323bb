"""Training views: square crops of a scene around one object, at the scales of the predictor's two passes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from maskloop.simulation import dilate

ZOOM_SHARE = 0.6
"""Share of views that zoom in on the object, as the second pass does; the others show most of the image."""
MERGE_SHARE = 0.15
"""Share of targets that are the union of two objects."""
NEIGHBOURS = 4
"""Of other objects at most so many are looked at, drawn anew for each view: each costs a decoding."""
TOUCHING_SHARE = 0.7
"""Share of views whose other objects are those alone that touch the target, where any do."""
PASTE_SHARE = 0.2
"""Share of views with another view's object pasted in: only the clicks tell which object is meant."""
PASTE_SCALE = (0.5, 1.1)
"""Size of a pasted object as a multiple of its size in the view that it comes from."""
PASTE_REACH = 0.7
"""How far from the middle of the view a pasted object's middle may lie; 1 is the border."""
MIN_PIXELS = 40
"""A target with fewer pixels in the view is drawn again."""


class Masks(Protocol):
    """Masks (H, W) bool by number: a tensor (K, H, W), or a sequence that decodes what is asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Tensor: ...


@dataclass(frozen=True)
class Scene:
    """One image with its objects: image (3, H, W) uint8, and K masks (H, W) bool.

    clicks: those that people gave for each of the K objects, (N, 3) each as rows of (row, col, sign) in the
        order they were made, (0, 3) for an object without; empty where no object has any.
    """

    image: Tensor
    masks: Masks
    clicks: Sequence[Tensor] = ()


@dataclass(frozen=True)
class View:
    """A batch or one item: image (3, S, S) in 0..1, target (S, S) in {1, 0, -1}, others (S, S) bool.

    clicks: those that people gave for the target, (N, 3) as rows of (row, col, sign) in the order they were
        made; a slot of sign 0 is empty. None where no item has any.
    """

    image: Tensor
    target: Tensor
    others: Tensor
    clicks: Tensor | None = None

    def to(self, device: str) -> "View":
        clicks = None if self.clicks is None else self.clicks.to(device)
        return View(self.image.to(device), self.target.to(device), self.others.to(device), clicks)


def draw_view(scene: Scene, size: int, generator: Generator) -> View | None:
    """A random view of a random object; None when the crop left too little of the object."""
    order: list[int] = torch.randperm(len(scene.masks), generator=generator).tolist()
    merged = 2 if len(order) > 1 and _chance(MERGE_SHARE, generator) else 1
    target = torch.stack([scene.masks[index] for index in order[:merged]]).any(dim=0)
    top, left, side = _square(target, generator)
    window = (slice(top, top + side), slice(left, left + side))
    seen = _resize(target[window][None].byte() * 255, size)[0] > 127.5
    if int(seen.sum()) < MIN_PIXELS:
        return None
    image = _resize(scene.image[:, window[0], window[1]], size).float() / 255
    # others are only clicked on: no smooth edges
    step = ((torch.arange(size, device=seen.device) + 0.5) * (side / size)).long()
    others = torch.zeros(0, size, size, dtype=torch.bool, device=seen.device)
    if merged < len(order):
        neighbours = order[merged : merged + NEIGHBOURS]
        others = torch.stack([scene.masks[index][window][step][:, step] for index in neighbours])
    clicks = None
    if scene.clicks and merged == 1:  # a union of two objects is not what anybody clicked for
        clicks = _clicks_in(scene.clicks[order[0]], top, left, side, size)
    return View(image, seen.long(), _neighbours(seen, others, generator), clicks)


def stack_views(views: list[View]) -> View:
    """One batch of equal-sized views."""
    return View(
        torch.stack([view.image for view in views]),
        torch.stack([view.target for view in views]),
        torch.stack([view.others for view in views]),
        _stack_clicks([view.clicks for view in views]),
    )


def augment(batch: View, generator: Generator) -> View:
    """Flip, change brightness, contrast and colour, and paste objects of other items."""
    return _jitter(_paste(_flip(batch, generator), generator), generator)


def _resize(planes: Tensor, size: int) -> Tensor:
    """Planes (C, H, W) uint8 to (C, S, S), 0..255; bytes are several times as fast where there is a way."""
    planes = planes if planes.device.type == "cpu" else planes.float()
    return F.interpolate(planes[None], (size, size), mode="bilinear", antialias=True)[0]


def _clicks_in(clicks: Tensor, top: int, left: int, side: int, size: int) -> Tensor | None:
    """Clicks (N, 3) of the scene in a view of `size` pixels that shows a square; None if all are outside."""
    places = clicks[:, :2] - torch.tensor([top, left]) + 0.5  # from the square's corner
    seen = ((places >= 0) & (places < side)).all(dim=1)
    if not bool(seen.any()):
        return None
    mapped = (places[seen] * (size / side) - 0.5).clamp(0, size - 1)
    return torch.cat([mapped, clicks[seen, 2:]], dim=1)


def _stack_clicks(clicks: list[Tensor | None]) -> Tensor | None:
    """Clicks of each item, (N, 3) or None, as (B, N, 3) with empty slots; None where no item has any."""
    slots = max((len(item) for item in clicks if item is not None), default=0)
    if not slots:
        return None
    stacked = torch.zeros(len(clicks), slots, 3)
    for row, item in zip(stacked, clicks, strict=True):
        if item is not None:
            row[: len(item)] = item
    return stacked


def _neighbours(target: Tensor, others: Tensor, generator: Generator) -> Tensor:
    """What negative clicks on other objects choose from.

    An object that lies mostly within the target is a part of it, or the same drawn by another person, and no
    neighbour. Those that touch the target are what it is confused with, so they are preferred.

    Args:
        target: (S, S) bool.
        others: (K, S, S) bool.
        generator: of the random numbers.

    Returns:
        (S, S) bool, off the target.
    """
    touching_alone = _chance(TOUCHING_SHARE, generator)
    beside = others & ~target
    beside = beside[beside.sum(dim=(1, 2)) > (others & target).sum(dim=(1, 2))]
    touching = (beside & dilate(target, 2)).any(dim=2).any(dim=1)
    if touching_alone and bool(touching.any()):
        beside = beside[touching]
    return beside.any(dim=0)


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
    index = flips.nonzero()[:, 0].to(batch.image.device)
    image, target, others = (plane.index_copy(0, index, plane[index].flip(-1)) for plane in _planes(batch))
    return View(image, target, others, _flip_clicks(batch, flips))


def _flip_clicks(batch: View, flips: Tensor) -> Tensor | None:
    if batch.clicks is None:
        return None
    clicks = batch.clicks.clone()
    mirrored = batch.image.shape[-1] - 1 - clicks[..., 1]
    clicks[..., 1] = torch.where(flips.to(clicks.device)[:, None], mirrored, clicks[..., 1])
    return clicks


def _paste(batch: View, generator: Generator) -> View:
    """Paste the object of the item before into some items, at another place and size.

    The target becomes that object or stays what is left of its own, and the other one is among the others.
    Where too little of either would be seen, nothing is pasted. Clicks that people gave are dropped where the
    target is another one now, or something else is where they were made.
    """
    count = batch.target.shape[0]
    draws = torch.rand(2, count, generator=generator)
    index = (draws[0] < PASTE_SHARE).nonzero()[:, 0]
    if not len(index):
        return batch
    into = View(*(plane[index.to(plane.device)] for plane in _planes(batch)))
    before = ((index - 1) % count).to(batch.image.device)
    image, cut = _moved(batch.image[before], batch.target[before] == 1, generator)
    own = (into.target == 1) & ~cut
    good = torch.minimum(_area(cut), _area(own)) >= MIN_PIXELS
    cut, own = cut & good, torch.where(good, own, into.target == 1)
    take = (draws[1, index] < 0.5).to(good.device)[:, None, None] & good
    target = torch.where(cut & take, 1, torch.where(own & ~take, 1, torch.where(cut | own, 0, into.target)))
    others = ((into.others & ~cut) | torch.where(take, own, cut)) & (target == 0)
    pasted = (torch.where(cut[:, None], image, into.image), target, others)
    image, target, others = (
        plane.index_copy(0, index.to(plane.device), new)
        for plane, new in zip(_planes(batch), pasted, strict=True)
    )
    return View(image, target, others, _paste_clicks(batch.clicks, index, cut | take))


def _paste_clicks(clicks: Tensor | None, index: Tensor, lost: Tensor) -> Tensor | None:
    """Clicks (B, N, 3) without those that lie on the pixels (I, S, S) bool that the items `index` lost."""
    if clicks is None:
        return None
    clicks, index = clicks.clone(), index.to(clicks.device)
    rows, cols = clicks[index, :, :2].round().long().unbind(-1)
    item = torch.arange(len(index), device=clicks.device)[:, None]
    clicks[index, :, 2] *= ~lost[item, rows, cols]
    return clicks


def _moved(image: Tensor, mask: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Images (B, 3, S, S) with masks (B, S, S) bool so that the middle of each mask is at a random place."""
    batch, size = mask.shape[0], mask.shape[-1]
    draws = torch.rand(batch, 3, generator=generator).to(image.device)
    scale = PASTE_SCALE[0] + (PASTE_SCALE[1] - PASTE_SCALE[0]) * draws[:, 0]
    to = (draws[:, 1:] * 2 - 1) * PASTE_REACH
    # in the sampling grid's coordinates a row or column goes from -1 to 1
    place = (torch.arange(size, device=image.device) * 2 + 1) / size - 1
    weight = mask.float()
    total = weight.sum(dim=(1, 2)).clamp(min=1)
    centre = torch.stack([(weight.sum(dim=dim) * place).sum(dim=1) / total for dim in (1, 2)], dim=1)
    theta = torch.zeros(batch, 2, 3, device=image.device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / scale
    theta[:, :, 2] = centre - to / scale[:, None]
    grid = F.affine_grid(theta, [batch, 1, size, size], align_corners=False)
    planes = torch.cat([image, weight[:, None]], dim=1)
    moved = F.grid_sample(planes, grid, mode="bilinear", align_corners=False)
    return moved[:, :3], moved[:, 3] > 0.5


def _jitter(batch: View, generator: Generator) -> View:
    count = batch.image.shape[0]
    draws = torch.rand(count, 5, 1, 1, generator=generator).to(batch.image.device)
    contrast = 0.8 + 0.5 * draws[:, 0:1]
    brightness = (draws[:, 1:2] - 0.5) * 0.3
    colour = (draws[:, 2:5] - 0.5) * 0.1
    offset = 0.5 - 0.5 * contrast + brightness + colour
    return replace(batch, image=(batch.image * contrast + offset).clamp_(0, 1))


def _planes(batch: View) -> tuple[Tensor, Tensor, Tensor]:
    return batch.image, batch.target, batch.others


def _area(masks: Tensor) -> Tensor:
    """Pixels of each mask (B, H, W), as (B, 1, 1)."""
    return masks.sum(dim=(1, 2), keepdim=True)


def _chance(share: float, generator: Generator) -> bool:
    return float(torch.rand((), generator=generator)) < share
