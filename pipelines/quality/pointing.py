"""Whether a mask is where the clicks that led to it say."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from maskloop.arrays import Mask, Plane
from maskloop.clicks import Click
from pipelines.data.findings import Finding
from pipelines.quality.config import QualityConfig
from pipelines.quality.labelled import Labelled

CLICKS = "clicks"


def check_clicks(item: Labelled, config: QualityConfig) -> Finding | None:
    """A mask that no positive click lies in or near, or that most of its clicks speak against.

    One click that misses is no fault: people click wrong, and click again.
    """
    if not any(click.positive for click in item.clicks):
        return None
    mask = item.mask()
    if not mask.any():
        return None
    reach = max(2.0, config.click_reach * _extent(mask))
    away = distances(mask, item.clicks)
    missed = [distance > reach for distance in away]
    near = [not miss for click, miss in zip(item.clicks, missed, strict=True) if click.positive]
    if any(near) and 2 * sum(missed) <= len(missed):
        return None
    what = "is far from every click on the object" if not any(near) else "contradicts most of its clicks"
    detail = f"it {what}: {sum(missed)} of {len(missed)} are more than {reach:.0f} pixels on the wrong side"
    return item.finding(CLICKS, detail, max(away))


def distances(mask: Mask, clicks: Sequence[Click]) -> list[float]:
    """How far each click is on the wrong side of the mask's border, in pixels; 0 on the right side."""
    # what lies beyond the image is outside
    inside = _depth(np.pad(mask, 1))[1:-1, 1:-1]
    outside = _depth(~mask)
    return [_at(outside if click.positive else inside, click) for click in clicks]


def _depth(region: Mask) -> Plane:
    """Distance of each pixel of the region to the nearest one outside it, (H, W) float32."""
    return np.asarray(cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE))


def _at(distance: Plane, click: Click) -> float:
    height, width = distance.shape
    row = min(max(math.floor(click.row + 0.5), 0), height - 1)
    col = min(max(math.floor(click.col + 0.5), 0), width - 1)
    return float(distance[row, col])


def _extent(mask: Mask) -> int:
    """The longer side of the mask's box, in pixels."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(max(rows[-1] - rows[0], cols[-1] - cols[0])) + 1
