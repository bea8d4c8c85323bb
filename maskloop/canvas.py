"""Canvas: probabilities of an image, kept as the network said them.

The network answers for windows, at a few hundred pixels a side. A canvas keeps these answers as patches that
are painted over each other, and makes pixels of the image where they are asked for: a photo of twelve
megapixels has 48 MB of probabilities, its patches half a megabyte.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, floor

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from maskloop.arrays import Mask, Plane
from maskloop.crops import Crop, Window, mask_extent


@dataclass(frozen=True)
class Patch:
    """Probabilities of one crop, (crop.height, crop.width), of which `window` is painted."""

    crop: Crop
    values: Plane
    window: Window

    @classmethod
    def of(cls, crop: Crop, values: Plane) -> "Patch":
        """A patch that is painted whole."""
        return cls(crop, values, crop.window)

    def pixels(self, window: Window) -> Plane:
        """Probabilities of the image's pixels in a part of the painted window."""
        rows, cols = window.moved(-self.crop.top, -self.crop.left).slices
        height, width = self.crop.window.size
        # rows first, so that those not asked for are never made
        return _resized(_resized(self.values, height, self.crop.width)[rows], rows.stop - rows.start, width)[
            :, cols
        ]

    def seen(self, crop: Crop) -> Plane:
        """What a crop shows of the patch, and zero around it, (crop.height, crop.width).

        One axis at a time, so that no pixel of the image is made.
        """
        own, part, shown = self.crop.window, self.window, crop.window
        rows = _seen_rows(
            self.values,
            range(own.top, own.bottom),
            range(part.top, part.bottom),
            range(shown.top, shown.bottom),
            crop.height,
        )
        return _seen_rows(
            np.ascontiguousarray(rows.T),
            range(own.left, own.right),
            range(part.left, part.right),
            range(shown.left, shown.right),
            crop.width,
        ).T

    def support(self, threshold: float) -> Window | None:
        """A window that holds every painted pixel above a threshold, and few others."""
        cells = mask_extent(self.values > threshold)
        if cells is None:
            return None
        height, width = self.crop.window.size
        down, across = height / self.crop.height, width / self.crop.width
        # a pixel takes from the cells whose centres are around it: half a cell further than the cell itself
        window = Window(
            floor((cells.top - 0.5) * down),
            floor((cells.left - 0.5) * across),
            ceil((cells.bottom + 0.5) * down),
            ceil((cells.right + 0.5) * across),
        )
        return window.moved(self.crop.top, self.crop.left).within(self.window)


@dataclass(frozen=True)
class Canvas:
    """Probabilities of an image of `height` x `width` pixels: patches, later ones over earlier, on zeros."""

    height: int
    width: int
    patches: tuple[Patch, ...] = ()

    @classmethod
    def of(cls, plane: Plane) -> "Canvas":
        """A plane (H, W) as a canvas; it is not copied."""
        height, width = plane.shape
        whole = Crop(0, 0, height, width, height, width)
        return cls(height, width, (Patch.of(whole, np.asarray(plane, np.float32)),))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the image."""
        return self.height, self.width

    @property
    def nbytes(self) -> int:
        """Bytes of the patches."""
        return sum(patch.values.nbytes for patch in self.patches)

    def any(self) -> bool:
        """Whether anything but zeros was painted."""
        return any(patch.values.any() for patch in self.patches)

    def painted(self, patch: Patch) -> "Canvas":
        """With one more patch; those that it hides are dropped."""
        kept = [one for one in self.patches if one.window.within(patch.window) != one.window]
        return replace(self, patches=(*kept, patch))

    def averaged(self, patch: Patch) -> "Canvas":
        """With the topmost patch replaced by the mean of it and another one, as fine as it was."""
        top = self.patches[-1]
        other = replace(self, patches=(patch,)).view(top.crop)[0, 0].numpy()
        return self.painted(replace(top, values=(top.values + other) / 2))

    def clipped(self, window: Window) -> "Canvas":
        """Zero outside of a window."""
        parts = [(patch, patch.window.within(window)) for patch in self.patches]
        return replace(
            self, patches=tuple(replace(patch, window=part) for patch, part in parts if part is not None)
        )

    def view(self, crop: Crop) -> Tensor:
        """The canvas as a crop shows it to the network, (1, 1, crop.height, crop.width).

        The same as resizing what `render` gives, to rounding, for a fraction of the work.
        """
        return torch.from_numpy(np.ascontiguousarray(self._seen(crop)))[None, None]

    def _seen(self, crop: Crop) -> Plane:
        seen: Plane = np.zeros((crop.height, crop.width), np.float32)
        for count, patch in enumerate(self.patches):
            if patch.window.within(crop.window) is None:
                continue
            hidden = replace(self, patches=self.patches[:count]).clipped(patch.window)
            seen += patch.seen(crop) - hidden._seen(crop)
        return seen

    def render(self, window: Window | None = None) -> Plane:
        """Probabilities of the pixels of a window, or of the whole image. Not to be written to."""
        window = window or Window(0, 0, self.height, self.width)
        if self.patches and window.within(self.patches[-1].window) == window:
            return self.patches[-1].pixels(window)
        plane: Plane = np.zeros(window.size, np.float32)
        for patch in self.patches:
            part = patch.window.within(window)
            if part is not None:
                plane[part.moved(-window.top, -window.left).slices] = patch.pixels(part)
        return plane

    def support(self, threshold: float) -> Window | None:
        """A window that holds every pixel above a threshold, and few others; None where there is none."""
        return _around([found for patch in self.patches if (found := patch.support(threshold)) is not None])

    def extent(self, threshold: float) -> Window | None:
        """The smallest window around the pixels above a threshold; None where there is none."""
        support = self.support(threshold)
        if support is None:
            return None
        extent = mask_extent(self.render(support) > threshold)
        return None if extent is None else extent.moved(support.top, support.left)

    def above(self, threshold: float) -> Mask:
        """Pixels above a threshold, (H, W) bool."""
        mask: Mask = np.zeros(self.shape, np.bool_)
        support = self.support(threshold)
        if support is not None:
            np.greater(self.render(support), threshold, out=mask[support.slices])
        return mask


def _around(windows: Sequence[Window]) -> Window | None:
    """The smallest window that holds these."""
    if not windows:
        return None
    tops, lefts, bottoms, rights = zip(*windows, strict=True)
    return Window(min(tops), min(lefts), max(bottoms), max(rights))


def _seen_rows(values: Plane, own: range, part: range, shown: range, height: int) -> Plane:
    """Rows of a patch as a crop shows them.

    Args:
        values: of the patch, whatever its columns are.
        own: rows of the image that the patch is of.
        part: of these, the painted ones.
        shown: rows of the image that the crop is of.
        height: rows as which it shows them.
    """
    pixels = _resized(values, len(own), values.shape[1])
    if not own == part == shown:
        first, last = max(part.start, shown.start), min(part.stop, shown.stop)
        placed = np.zeros((len(shown), values.shape[1]), np.float32)
        placed[first - shown.start : last - shown.start] = pixels[first - own.start : last - own.start]
        pixels = placed
    rows = torch.from_numpy(np.ascontiguousarray(pixels))[None, None]
    seen: Plane = F.interpolate(rows, (height, values.shape[1]), mode="bilinear", antialias=True)[
        0, 0
    ].numpy()
    return seen


def _resized(values: Plane, height: int, width: int) -> Plane:
    """Bilinear resize with pixel centres at half coordinates; several times faster here than torch's."""
    if values.shape == (height, width):
        return values
    resized = cv2.resize(np.ascontiguousarray(values), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32)
