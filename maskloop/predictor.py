"""The predictor: image, clicks and previous mask to a mask, in two passes with the same weights.

It keeps nothing between calls, so any number of callers may share one, and the same arguments always give the
same mask.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from maskloop.arrays import Image, Mask, Plane
from maskloop.checkpoint import Checkpoint, load_checkpoint
from maskloop.clicks import Click, check_clicks, stack_clicks
from maskloop.crops import Crop, full_region, zoom_region
from maskloop.errors import ClickError, ImageError, MaskError
from maskloop.model.csfpn import MASK_THRESHOLD

ZOOM_THRESHOLD = 0.5

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Prediction:
    """Probability of the object, (H, W) float32."""

    probability: Plane

    @property
    def mask(self) -> Mask:
        """Pixels of the object, (H, W) bool."""
        mask: Mask = self.probability > MASK_THRESHOLD
        return mask


@dataclass(frozen=True)
class Request:
    """One question to a predictor; the arguments of `Predictor.predict`."""

    image: Image
    clicks: Sequence[Click]
    previous: Plane | None = None
    box: Box | None = None


class Predictor:
    """Predicts masks with one checkpoint."""

    def __init__(self, checkpoint: Checkpoint, long_side: int | None = None) -> None:
        """Use `long_side` pixels for the longer side of both passes, or what the checkpoint was made for."""
        self._model = checkpoint.model
        self._long_side = long_side or checkpoint.model.config.long_side
        self.sha256 = checkpoint.sha256
        self.version = f"{checkpoint.name}-{checkpoint.sha256[:8]}"

    @classmethod
    def load(cls, directory: Path, sha256: str | None = None) -> "Predictor":
        """Read a checkpoint's folder; CheckpointError when it is damaged or not the one with this digest."""
        return cls(load_checkpoint(directory, sha256))

    def predict(
        self,
        image: Image,
        clicks: Sequence[Click],
        previous: Plane | None = None,
        box: Box | None = None,
    ) -> Prediction:
        """Predict the mask of the object that the clicks mean.

        Args:
            image: (H, W, 3) uint8 RGB.
            clicks: in pixels of the image, in any order.
            previous: probability or mask so far, (H, W); from the call before, or from elsewhere to be
                refined.
            box: top, left, bottom, right of a box around the object; the mask will not leave it by more
                than a twentieth.

        Raises:
            ImageError, ClickError, MaskError: an argument is outside its range.
        """
        height, width = _check_image(image)
        check_clicks(clicks, height, width)
        start = (
            np.zeros((height, width), np.float32)
            if previous is None
            else _check_plane(previous, height, width)
        )
        if box is not None:
            box = _check_box(box, height, width)
            clicks, start = _with_box(box, clicks, start)
        if not any(click.positive for click in clicks) and not start.any():
            # nothing was ever marked as the object, so there is nothing to find
            return Prediction(start)
        probability = self._pass(full_region(height, width, self._long_side), image, clicks, start)
        region = zoom_region(probability > ZOOM_THRESHOLD, clicks, self._long_side)
        probability = self._pass(region, image, clicks, probability)
        return Prediction(probability if box is None else _inside(box, probability))

    def predict_batch(self, requests: Sequence[Request]) -> list[Prediction]:
        """Answer several requests, each as `predict` does; images may differ in size."""
        return [self.predict(one.image, one.clicks, one.previous, one.box) for one in requests]

    def _pass(self, crop: Crop, image: Image, clicks: Sequence[Click], previous: Plane) -> Plane:
        """Run the network on a crop and paste its probabilities over the previous ones."""
        with torch.inference_mode():
            points = stack_clicks([crop.clicks(clicks)])
            logits = self._model(crop.image(image), crop.plane(previous), points).mask
            return crop.paste(logits.sigmoid(), previous)


def _check_image(image: Image) -> tuple[int, int]:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ImageError(f"the image is {image.dtype} of shape {image.shape}; give (H, W, 3) uint8 RGB")
    return image.shape[0], image.shape[1]


def _check_plane(previous: Plane, height: int, width: int) -> Plane:
    if previous.shape != (height, width):
        raise MaskError(
            f"the previous mask is {previous.shape}, the image {(height, width)}; give equal sizes"
        )
    return previous.astype(np.float32)


def _check_box(box: Box, height: int, width: int) -> Box:
    """Clip a box to the image."""
    top, left, bottom, right = max(0.0, box[0]), max(0.0, box[1]), min(box[2], height), min(box[3], width)
    if not (bottom - top >= 1 and right - left >= 1):
        raise ClickError(f"the box {box} covers no pixel of the image of {height} rows and {width} columns")
    return top, left, bottom, right


def _with_box(box: Box, clicks: Sequence[Click], start: Plane) -> tuple[Sequence[Click], Plane]:
    """A box is a rough mask: the filled box as previous mask, its centre as a click when none is positive."""
    top, left, bottom, right = box
    if not start.any():
        start = np.zeros_like(start)
        start[round(top) : round(bottom), round(left) : round(right)] = 1
    if not any(click.positive for click in clicks):
        clicks = [Click((top + bottom - 1) / 2, (left + right - 1) / 2), *clicks]
    return clicks, start


def _inside(box: Box, probability: Plane) -> Plane:
    """Nothing outside the box, which is widened a little since people draw boxes tightly."""
    top, left, bottom, right = box
    down, across = 0.05 * (bottom - top), 0.05 * (right - left)
    kept = np.zeros_like(probability)
    window = (
        slice(max(0, round(top - down)), round(bottom + down)),
        slice(max(0, round(left - across)), round(right + across)),
    )
    kept[window] = probability[window]
    return kept
