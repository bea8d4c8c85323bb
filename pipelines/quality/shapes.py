"""What a mask's pixels alone tell: nothing, a sliver, or the rim of the image."""

import cv2
import numpy as np
import numpy.typing as npt

from maskloop.arrays import Mask
from pipelines.data.findings import Finding
from pipelines.quality.config import QualityConfig
from pipelines.quality.labelled import Labelled

EMPTY, SLIVER, BORDER = "empty", "sliver", "border"

Bytes = npt.NDArray[np.uint8]


def check_shape(item: Labelled, config: QualityConfig) -> Finding | None:
    """The first thing that is wrong with a mask's shape."""
    mask = item.mask()
    area = np.count_nonzero(mask)
    if not area:
        return item.finding(EMPTY, "the mask has no pixel: delete or redraw it", 0.0)
    if area < config.tiny:
        return item.finding(SLIVER, f"only {area} pixels: delete or redraw it", float(area))
    return _border(item, mask, area, config) or _sliver(item, mask, config)


def _border(item: Labelled, mask: Mask, area: int, config: QualityConfig) -> Finding | None:
    share = area / mask.size
    touched = [mask[0].any(), mask[-1].any(), mask[:, 0].any(), mask[:, -1].any()]
    if all(touched) and share > config.whole:
        return item.finding(BORDER, f"it covers {100 * share:.0f} % of the image, to all its borders", share)
    rim = max(1, round(config.border * max(mask.shape)))
    if any(touched) and not mask[rim:-rim, rim:-rim].any():
        outside = "it lies within {} pixels of the image's border: most of it was drawn outside"
        return item.finding(BORDER, outside.format(rim), float(rim))
    return None


def _sliver(item: Labelled, mask: Mask, config: QualityConfig) -> Finding | None:
    pixels = _cropped(mask)
    half = thickness(pixels)
    if 2 * half <= config.thin:
        return item.finding(SLIVER, f"it is nowhere wider than {config.thin} pixels", 2 * half)
    count, _, stats, _ = cv2.connectedComponentsWithStats(pixels, connectivity=8)
    specks = int(np.count_nonzero(stats[1:, cv2.CC_STAT_AREA] < config.tiny))
    if specks > config.specks:
        detail = f"{specks} of its {count - 1} pieces are specks of fewer than {config.tiny} pixels"
        return item.finding(SLIVER, detail, float(specks))
    return None


def thickness(pixels: Bytes) -> float:
    """How deep the mask is, in pixels: half the side of the largest square inside it, rounded up."""
    padded = np.pad(pixels, 1)
    return float(cv2.distanceTransform(padded, cv2.DIST_C, 3).max())


def _cropped(mask: Mask) -> Bytes:
    """The mask's own rows and columns, since a large photo is mostly elsewhere."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1].astype(np.uint8)
