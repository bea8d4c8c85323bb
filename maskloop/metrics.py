"""Metrics of masks: how well one covers another, over its area and along its boundary."""

import math

import cv2
import numpy as np

from maskloop.arrays import Mask

BOUNDARY_RATIO = 0.02
"""Width of the boundary band as a share of the image's diagonal (Boundary IoU, arXiv 2103.16562)."""


def intersection_over_union(mask: Mask, target: Mask, ignore: Mask | None = None) -> float:
    """IoU of two masks (H, W) bool outside the ignored pixels; 1 when both are empty."""
    both, either = mask & target, mask | target
    if ignore is not None:
        both, either = both & ~ignore, either & ~ignore
    union = np.count_nonzero(either)
    return np.count_nonzero(both) / union if union else 1.0


def boundary_iou(mask: Mask, target: Mask, ignore: Mask | None = None) -> float:
    """IoU of the two masks' boundary bands; 1 when both are empty.

    Ignored pixels count for nothing: the mask is taken to be right there before its boundary is looked for,
    so that one which ends anywhere within an undecided strip agrees with a target that ends beside it.

    Args:
        mask: mask to judge, (H, W) bool.
        target: mask wanted, (H, W) bool.
        ignore: pixels that count for nothing, (H, W) bool.
    """
    if ignore is not None:
        mask = np.where(ignore, target, mask)
    return intersection_over_union(boundary_band(mask), boundary_band(target), ignore)


def boundary_band(mask: Mask) -> Mask:
    """Pixels of a mask (H, W) bool near its outside; what is beyond the image is outside.

    It is the mask without its erosion by a square that reaches max(1, 2 % of the image's diagonal) pixels,
    rounded, in each direction.
    """
    reach = max(1, round(BOUNDARY_RATIO * math.hypot(*mask.shape)))
    interior = cv2.erode(
        mask.astype(np.uint8),
        np.ones((3, 3), np.uint8),
        iterations=reach,
        borderType=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    return mask & (interior == 0)
