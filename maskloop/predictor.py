"""The predictor: image, clicks and previous mask to a mask, in one or several passes of the network.

It keeps nothing between calls, so any number of callers may share one, and the same arguments always give the
same mask. How often the network runs, and on which region, is the protocol.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maskloop.arrays import Image, Mask, Plane
from maskloop.checkpoint import Checkpoint, load_checkpoint
from maskloop.clicks import Click, check_clicks, stack_clicks
from maskloop.crops import Crop, focus_region, full_region, ritm_region, zoom_region
from maskloop.errors import CheckpointError, ClickError, ImageError, MaskError
from maskloop.model import CSFPN
from maskloop.model.csfpn import MASK_THRESHOLD
from maskloop.protocols import PROTOCOLS, Pass

ZOOM_THRESHOLD = 0.5

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Request:
    """The arguments of one prediction; see `Predictor.predict`."""

    image: Image
    clicks: Sequence[Click]
    previous: Plane | None = None
    box: Box | None = None


@dataclass(frozen=True)
class Prediction:
    """Probability of the object, (H, W) float32."""

    probability: Plane

    @property
    def mask(self) -> Mask:
        """Pixels of the object, (H, W) bool."""
        mask: Mask = self.probability > MASK_THRESHOLD
        return mask


@dataclass
class _Job:
    """A request on its way through the passes."""

    image: Image
    clicks: Sequence[Click]
    box: Box | None
    start: Plane
    probability: Plane

    @property
    def hopeless(self) -> bool:
        """Nothing was ever marked as the object, so there is nothing to find."""
        return not any(click.positive for click in self.clicks) and not self.start.any()


class Predictor:
    """Predicts masks with one checkpoint."""

    def __init__(
        self, checkpoint: Checkpoint, long_side: int | None = None, protocol: str | None = None
    ) -> None:
        """Run a checkpoint.

        Args:
            checkpoint: its networks.
            long_side: longer side of every pass in pixels; None: what the checkpoint was made for.
            protocol: a name of `PROTOCOLS`; None: the cascade that the checkpoint was made for.

        Raises:
            CheckpointError: no such protocol.
        """
        config = checkpoint.model.config
        name = protocol or ("single" if config.cascade == "none" else "csfpn")
        if name not in PROTOCOLS:
            raise CheckpointError(f"unknown protocol {name!r}; known are {', '.join(PROTOCOLS)}")
        self.protocol = PROTOCOLS[name]
        self._coarse = checkpoint.model
        self._fine = checkpoint.fine or checkpoint.model
        self._long_side = long_side or config.long_side
        self.sha256 = checkpoint.sha256
        self.version = f"{checkpoint.name}-{checkpoint.sha256[:8]}"
        if protocol is not None:
            self.version += f"+{protocol}"

    @classmethod
    def load(cls, directory: Path, sha256: str | None = None, protocol: str | None = None) -> "Predictor":
        """Read a checkpoint's folder; CheckpointError when it is damaged or not the one with this digest."""
        return cls(load_checkpoint(directory, sha256), protocol=protocol)

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
            clicks: in pixels of the image, in the order they were made.
            previous: probability or mask so far, (H, W); from the call before, or from elsewhere to be
                refined.
            box: top, left, bottom, right of a box around the object; the mask will not leave it by more
                than a twentieth.

        Raises:
            ImageError, ClickError, MaskError: an argument is outside its range.
        """
        return self.predict_batch([Request(image, clicks, previous, box)])[0]

    def predict_batch(self, requests: Sequence[Request]) -> list[Prediction]:
        """Predict several masks at once; crops of one size go through the network together."""
        jobs = [_job(request) for request in requests]
        active = [job for job in jobs if not job.hopeless]
        for kind in self.protocol.passes:
            self._run([(job, crop) for job in active if (crop := self._crop(kind, job)) is not None], kind)
        return [
            Prediction(job.probability if job.box is None else _inside(job.box, job.probability))
            for job in jobs
        ]

    def _crop(self, kind: Pass, job: _Job) -> Crop | None:
        """The region of a pass; None where there is nothing to do."""
        height, width = job.image.shape[:2]
        side = self.protocol.zoom_side or self._long_side
        if kind == "full" or (kind == "ritm" and not job.start.any()):
            return full_region(height, width, max(height, width) if self.protocol.native else self._long_side)
        if kind == "ritm":
            return ritm_region(job.start > ZOOM_THRESHOLD, job.clicks, side)
        if kind == "zoom":
            return zoom_region(job.probability > ZOOM_THRESHOLD, job.clicks, side)
        if len(job.clicks) < 2:  # the first click changed everything, which is what `zoom` looks at
            return None
        before, after = job.start > MASK_THRESHOLD, job.probability > MASK_THRESHOLD
        return focus_region(before, after, job.clicks[-1], side)

    def _run(self, work: Sequence[tuple[_Job, Crop]], kind: Pass) -> None:
        """One pass: run the network on the crops, and paste its probabilities over the jobs' own."""
        model = self._coarse if kind in ("full", "ritm") else self._fine
        groups: dict[tuple[int, int], list[tuple[_Job, Crop]]] = defaultdict(list)
        for job, crop in work:
            groups[crop.height, crop.width].append((job, crop))
        for group in groups.values():
            image = torch.cat([crop.image(job.image) for job, crop in group])
            previous = torch.cat([crop.plane(job.probability) for job, crop in group])
            clicks = stack_clicks([crop.clicks(job.clicks) for job, crop in group])
            with torch.inference_mode():
                result = self._logits(model, image, previous, clicks).sigmoid()
            for (job, crop), item in zip(group, result, strict=True):
                # RITM's answer is the zoomed region alone; elsewhere the pass before has had a look
                onto = np.zeros_like(job.start) if kind == "ritm" else job.probability
                job.probability = crop.paste(item[None], onto)

    def _logits(self, model: CSFPN, image: Tensor, previous: Tensor, clicks: Tensor) -> Tensor:
        """Mask logits (B, 1, h, w), averaged with the mirrored ones where the protocol says so."""
        logits: Tensor = model(image, previous, clicks).mask
        if not self.protocol.flip:
            return logits
        rows, cols, signs = clicks.unbind(-1)
        mirrored = torch.stack([rows, image.shape[-1] - 1 - cols, signs], dim=-1)
        return (logits + model(image.flip(-1), previous.flip(-1), mirrored).mask.flip(-1)) / 2


def _job(request: Request) -> _Job:
    """Check a request and set out."""
    height, width = _check_image(request.image)
    check_clicks(request.clicks, height, width)
    clicks, box = request.clicks, request.box
    start: Plane = np.zeros((height, width), np.float32)
    if request.previous is not None:
        start = _check_plane(request.previous, height, width)
    if box is not None:
        box = _check_box(box, height, width)
        clicks, start = _with_box(box, clicks, start)
    return _Job(request.image, clicks, box, start, start)


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
