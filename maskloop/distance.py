"""Exact Euclidean distance transform in torch, for batches and on any device.

OpenCV has a faster one for a single CPU image; this one lets the click simulation run where the training
runs, and gives the same integers everywhere, so that ties between pixels break alike on every machine.
"""

import torch
from torch import Tensor


def squared_distance(mask: Tensor) -> Tensor:
    """Squared distance in pixels from every pixel of a region to the nearest pixel outside it.

    The outside of the image counts as outside the region, as if the image had a border of one empty pixel.

    Args:
        mask: region(s), bool, (..., H, W).

    Returns:
        Squared distances, (..., H, W), int32; 0 outside the region.
    """
    height = mask.shape[-2]
    row = torch.arange(1, height + 1, device=mask.device, dtype=torch.int32)
    to_border = torch.minimum(row, row.flip(0)).square()[:, None]
    along_rows = _distance_along_rows(mask).square()
    best = torch.minimum(along_rows, to_border)
    # a pixel `offset` rows away can only lower a distance above offset², so the loop ends at the largest
    # radius
    offset = 1
    while offset < height and offset * offset < int(best.max()):
        step = offset * offset
        above, below = best[..., :-offset, :], best[..., offset:, :]
        torch.minimum(above, along_rows[..., offset:, :] + step, out=above)
        torch.minimum(below, along_rows[..., :-offset, :] + step, out=below)
        offset += 1
    return best


def _distance_along_rows(mask: Tensor) -> Tensor:
    """Distance to the nearest pixel outside the region in the same row, (..., H, W), int32."""
    width = mask.shape[-1]
    position = torch.arange(1, width + 1, device=mask.device, dtype=torch.int32)
    outside = torch.where(mask, 0, position)
    left = position - outside.cummax(dim=-1).values
    mirrored = torch.where(mask.flip(-1), 0, position)
    right = (position - mirrored.cummax(dim=-1).values).flip(-1)
    return torch.minimum(left, right)
