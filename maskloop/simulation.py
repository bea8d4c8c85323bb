"""Clicks and masks simulated for training, in batches and on any device.

Letters: B batch, N clicks, H x W pixels. Targets are (B, H, W) in {1, 0, -1}. Source of the click statistics:
RITM (arXiv 2102.06583) and CSFPN (arXiv 2203.05145); the first-click and external-mask modes are ours.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from maskloop.distance import squared_distance
from maskloop.model.csfpn import MASK_THRESHOLD

MAX_RANDOM_CLICKS = 12
DECAY = 0.8
"""The number of random clicks k has probability proportional to DECAY**k."""
EROSION = 3
"""Random positive clicks keep this many pixels from the border of the object."""
NEGATIVE_KINDS = (0.1, 0.4, 0.5)
"""Share of random negative clicks anywhere, on other objects, and on the border ring of the object."""


def first_clicks(target: Tensor, generator: Generator) -> Tensor:
    """One positive click deep inside the object, as people start; (B, 1, 3)."""
    return _place(_interior(_depth(target == 1)), 1.0, 1, generator)


def random_clicks(target: Tensor, others: Tensor, generator: Generator) -> Tensor:
    """Several clicks of both signs at once, as RITM draws them.

    Args:
        target: (B, H, W).
        others: pixels of the other objects, (B, H, W) bool.
        generator: of the random numbers, on the CPU.

    Returns:
        (B, 2 * MAX_RANDOM_CLICKS, 3); at least one positive.
    """
    inside, outside = target == 1, target == 0
    eroded = ~dilate(~inside, EROSION)
    positive_area = torch.where(eroded.sum(dim=(1, 2), keepdim=True) > 10, eroded, inside)
    ring = torch.stack([dilate(item, math.ceil(0.1 * float(item.sum()) ** 0.5)) for item in inside]) & outside
    kinds = [outside, others & outside, ring]
    positive = _place(positive_area, 1.0, MAX_RANDOM_CLICKS, generator)
    negatives = torch.stack([_place(kind, -1.0, MAX_RANDOM_CLICKS, generator) for kind in kinds])
    choice = torch.multinomial(
        torch.tensor(NEGATIVE_KINDS), negatives[0, ..., 0].numel(), True, generator=generator
    )
    choice = choice.to(target.device).view(1, *negatives.shape[1:3], 1).expand(1, *negatives.shape[1:])
    negative = negatives.gather(0, choice)[0]
    return torch.cat([_keep_first(positive, 1, generator), _keep_first(negative, 0, generator)], dim=1)


def corrective_click(probability: Tensor, target: Tensor, clicks: Tensor, generator: Generator) -> Tensor:
    """Add the click that a person would make next, somewhere in the inner half of the deeper error.

    Args:
        probability: of the mask, (B, 1, H, W).
        target: (B, H, W).
        clicks: so far, (B, N, 3).
        generator: of the random numbers, on the CPU.

    Returns:
        (B, N + 1, 3); the new slot is empty where nothing is wrong.
    """
    probability = probability[:, 0]
    missed = (target == 1) & (probability < MASK_THRESHOLD)
    wrong = (target == 0) & (probability > MASK_THRESHOLD)
    depth = _depth(torch.stack([missed, wrong], dim=1))
    deepest = depth.flatten(2).amax(dim=2)
    positive = deepest[:, 0] > deepest[:, 1]
    chosen = torch.where(positive[:, None, None], depth[:, 0], depth[:, 1])
    added = _place(_interior(chosen), 1.0, 1, generator)
    added[..., 2] *= torch.where(positive, 1.0, -1.0)[:, None]
    return torch.cat([clicks, added], dim=1)


def external_masks(target: Tensor, others: Tensor, generator: Generator) -> Tensor:
    """Masks as other sources give them (a box, a coarse outline, a mask with a part too much or missing).

    Trained as previous masks, they let the network refine a mask that it did not make.

    Returns:
        (B, 1, H, W) float, 0 or 1.
    """
    masks = [
        _damaged(item == 1, other, float(torch.rand((), generator=generator)), generator)
        for item, other in zip(target, others, strict=True)
    ]
    return torch.stack(masks)[:, None].float()


def _damaged(mask: Tensor, others: Tensor, kind: float, generator: Generator) -> Tensor:
    """One mask (H, W) bool made worse in one of four ways."""
    if kind < 0.3:
        return _bounding_box(mask)
    if kind < 0.6:
        radius = math.ceil(0.15 * float(mask.sum()) ** 0.5 * float(torch.rand((), generator=generator)))
        return dilate(mask, radius) if kind < 0.45 else ~dilate(~mask, radius)
    patch = _random_patch(mask, generator)
    return mask & ~patch if kind < 0.8 else mask | (others if kind > 0.95 else patch)


def dilate(mask: Tensor, radius: int) -> Tensor:
    """Grow masks (..., H, W) bool by `radius` pixels in all eight directions."""
    return _dilate_rows(_dilate_rows(mask, radius).mT, radius).mT


def _dilate_rows(mask: Tensor, radius: int) -> Tensor:
    """Grow along the last dimension: to where the running count rises within the window."""
    side = 2 * radius + 1
    count = F.pad(mask, (radius + 1, radius)).cumsum(dim=-1, dtype=torch.int32)
    return count[..., side:] > count[..., :-side]


def _bounding_box(mask: Tensor) -> Tensor:
    rows, cols = mask.any(dim=1), mask.any(dim=0)
    return _span(rows)[:, None] & _span(cols)[None, :]


def _span(flags: Tensor) -> Tensor:
    """True from the first to the last true value."""
    counts = flags.int()
    return (counts.cumsum(0) > 0) & (counts.flip(0).cumsum(0).flip(0) > 0)


def _random_patch(mask: Tensor, generator: Generator) -> Tensor:
    """A rectangle around a random pixel of the mask, sides up to 1.2 times the root of the mask's area."""
    centre = _place(mask[None], 1.0, 1, generator)[0, 0]
    half = float(mask.sum()) ** 0.5 * (0.1 + 0.5 * torch.rand(2, generator=generator))
    rows = torch.arange(mask.shape[0], device=mask.device)
    cols = torch.arange(mask.shape[1], device=mask.device)
    return ((rows - centre[0]).abs() <= float(half[0]))[:, None] & (
        (cols - centre[1]).abs() <= float(half[1])
    )[None]


def _depth(region: Tensor) -> Tensor:
    """`squared_distance` of each region (..., H, W) bool; on a CPU within its bounding box, which is faster.

    Beyond the box nothing belongs to the region, which is what the transform assumes of a border.
    """
    if region.device.type != "cpu":
        return squared_distance(region)
    depth = torch.zeros(region.shape, dtype=torch.int32)
    for plane, result in zip(region.flatten(0, -3), depth.flatten(0, -3), strict=True):
        rows, cols = plane.any(dim=1).nonzero()[:, 0], plane.any(dim=0).nonzero()[:, 0]
        if len(rows):
            box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)
            result[box] = squared_distance(plane[box])
    return depth


def _interior(squared_depth: Tensor) -> Tensor:
    """Pixels deeper than half of the deepest; (B, H, W) bool."""
    deepest = squared_depth.flatten(1).amax(dim=1)[:, None, None]
    return (squared_depth > deepest / 4) & (squared_depth > 0)


def _place(area: Tensor, sign: float, count: int, generator: Generator) -> Tensor:
    """Click `count` times in each area (B, H, W) bool: (B, count, 3), empty slots for an empty area."""
    batch, _, width = area.shape
    flat = area.flatten(1)
    total = flat.sum(dim=1, keepdim=True)
    # the k-th pixel of the area by its running count: exact for any size, and cheaper than a multinomial over
    # all pixels
    draw = torch.rand(batch, count, generator=generator).to(area.device)
    rank = (draw * total).floor().clamp(max=(total - 1).clamp(min=0)) + 1
    index = torch.searchsorted(flat.cumsum(dim=1, dtype=torch.int32), rank.int()).clamp(max=flat.shape[1] - 1)
    signs = torch.where(total > 0, sign, 0.0).expand(batch, count)
    return torch.stack([(index // width).float(), (index % width).float(), signs], dim=-1)


def _keep_first(clicks: Tensor, least: int, generator: Generator) -> Tensor:
    """Empty all but the first `least + k` slots of each item, P(k) proportional to DECAY**k."""
    slots = clicks.shape[1]
    chance = DECAY ** torch.arange(slots + 1 - least)
    count = least + torch.multinomial(chance, clicks.shape[0], True, generator=generator)
    kept = torch.arange(slots)[None] < count[:, None]
    clicks = clicks.clone()
    clicks[..., 2] *= kept.to(clicks.device)
    return clicks
