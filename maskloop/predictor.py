"""The predictor: image, clicks and previous mask to a mask, in one or several passes of the network.

It keeps nothing between calls, so any number of callers may share one, and the same arguments always give the
same mask. How often the network runs, and on which region, is the protocol.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maskloop.arrays import Image, Mask, Plane
from maskloop.boxes import Box, box_corners, clip_box, fill_box, widen_box
from maskloop.canvas import Canvas, Patch
from maskloop.checkpoint import Checkpoint, load_checkpoint
from maskloop.clicks import Click, check_clicks, stack_clicks
from maskloop.crops import (
    Crop,
    focus_region,
    full_region,
    network_sizes,
    ritm_region,
    zoom_region,
)
from maskloop.engines import Engine, open_engine
from maskloop.errors import CheckpointError, ImageError, MaskError
from maskloop.folding import fold
from maskloop.look import Features, Look, check_protocol, stack_prompts
from maskloop.model.csfpn import MASK_THRESHOLD
from maskloop.protocols import PROTOCOLS, Pass

ZOOM_THRESHOLD = 0.5


@dataclass(frozen=True)
class PreparedImage:
    """An image with what does not depend on the clicks; see `Predictor.prepare`."""

    image: Image
    overview: Tensor
    """The whole image as `crop` shows it to the network."""
    crop: Crop
    features: Features | None = None
    """What a first look found, where the checkpoint begins with one."""

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels, of the overview and of its features."""
        features = 0 if self.features is None else self.features.values.nbytes
        return self.image.nbytes + self.overview.nbytes + features

    def view(self, crop: Crop) -> Tensor:
        """What a crop shows to the network, (1, 3, crop.height, crop.width)."""
        # a predictor that shows images at another size gets what it asks for
        return self.overview if crop == self.crop else crop.image(self.image)


class Prediction:
    """Probability of the object at each pixel, held as small as the network answered it.

    The full-size arrays are made anew at each access. What it is made of is a canvas, or the plane (H, W)
    float32 of another kind of segmenter.
    """

    def __init__(self, source: Canvas | Plane) -> None:
        self.canvas = source if isinstance(source, Canvas) else Canvas.of(source)

    @property
    def probability(self) -> Plane:
        """(H, W) float32."""
        return self.canvas.render()

    @property
    def mask(self) -> Mask:
        """Pixels of the object, (H, W) bool."""
        return self.canvas.above(MASK_THRESHOLD)

    @property
    def score(self) -> float:
        """Mean probability of the object's pixels; 0 where there are none."""
        return self.drawn()[1]

    def drawn(self) -> tuple[Mask, float]:
        """The mask and its score at the cost of one: the pixels are made once."""
        mask: Mask = np.zeros(self.canvas.shape, np.bool_)
        support = self.canvas.support(MASK_THRESHOLD)
        if support is None:
            return mask, 0.0
        probability = self.canvas.render(support)
        inside = mask[support.slices]
        np.greater(probability, MASK_THRESHOLD, out=inside)
        score, *_ = cast(tuple[float, ...], cv2.mean(probability, mask=inside.astype(np.uint8)))
        return mask, score

    @property
    def nbytes(self) -> int:
        """Bytes that are held."""
        return self.canvas.nbytes


@dataclass(frozen=True)
class Request:
    """The arguments of one prediction; see `Predictor.predict`."""

    image: Image | PreparedImage
    clicks: Sequence[Click]
    previous: Plane | Prediction | None = None
    box: Box | None = None

    @property
    def pixels(self) -> Image:
        """The image itself."""
        return self.image.image if isinstance(self.image, PreparedImage) else self.image

    @property
    def plane(self) -> Plane | None:
        """The previous mask as an array."""
        return self.previous.probability if isinstance(self.previous, Prediction) else self.previous


@dataclass
class _Job:
    """A request on its way through the passes."""

    image: Image | PreparedImage
    clicks: Sequence[Click]
    box: Box | None
    given: Sequence[Click]
    """The clicks without one that the box stands for."""
    boxed: bool
    """Whether all that is known before the first pass is the box."""
    start: Canvas
    canvas: Canvas

    @property
    def hopeless(self) -> bool:
        """Nothing was ever marked as the object, so there is nothing to find."""
        return not any(click.positive for click in self.clicks) and not self.start.any()

    def view(self, crop: Crop) -> Tensor:
        """What a crop shows of the image."""
        return self.image.view(crop) if isinstance(self.image, PreparedImage) else crop.image(self.image)

    def prompts(self, crop: Crop) -> tuple[list[Click], list[Click]]:
        """Clicks, and the corners of the box, in coordinates of what a crop shows."""
        corners = [] if self.box is None else box_corners(self.box)
        return crop.clicks(self.given), crop.clicks(corners)

    def features(self, look: Look) -> Features:
        """What a look finds, or found when the image was prepared."""
        if isinstance(self.image, PreparedImage):
            return look.features(self.image.image, self.image.features)
        return look.features(self.image)


class Predictor:
    """Predicts masks with one checkpoint."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        long_side: int | None = None,
        protocol: str | None = None,
        engine: str | None = None,
    ) -> None:
        """Run a checkpoint.

        Args:
            checkpoint: its networks.
            long_side: longer side of every pass in pixels; None: what the checkpoint was made for.
            protocol: a name of `PROTOCOLS`; None: the cascade that the checkpoint was made for.
            engine: a name of `ENGINES`; None: the fastest that runs the network. Any but torch takes a second
                to be made ready, which a single click does not pay back.

        Raises:
            CheckpointError: no such protocol or engine, or the checkpoint is not made for it.
        """
        config = checkpoint.model.config
        name = protocol or ("single" if config.cascade == "none" else "csfpn")
        if name not in PROTOCOLS:
            raise CheckpointError(f"unknown protocol {name!r}; known are {', '.join(PROTOCOLS)}")
        self.protocol = PROTOCOLS[name]
        folded = fold(checkpoint.model)
        self._encoder = folded.encoder
        self._coarse = open_engine(folded, engine)
        self._look = None
        if folded.prompted is not None:
            check_protocol(name)
            self._look = Look(folded.prompted, config.overview_side, checkpoint.sha256, engine)
        self.passes = self.protocol.passes if self._look is None else ("look", *self.protocol.passes)
        self._fine = self._coarse if checkpoint.fine is None else open_engine(fold(checkpoint.fine), engine)
        self.engine = self._coarse.name
        self._long_side = long_side or config.long_side
        self.sha256 = checkpoint.sha256
        self.version = f"{checkpoint.name}-{checkpoint.sha256[:8]}"
        if protocol is not None:
            self.version += f"+{protocol}"

    @classmethod
    def load(
        cls,
        directory: Path,
        sha256: str | None = None,
        protocol: str | None = None,
        engine: str | None = None,
    ) -> "Predictor":
        """Read a checkpoint's folder; CheckpointError when it is damaged or not the one with this digest."""
        return cls(load_checkpoint(directory, sha256), protocol=protocol, engine=engine)

    def prepare(self, image: Image) -> PreparedImage:
        """Do once for an image what each click on it would do again; answers are the same without.

        Raises:
            ImageError: not (H, W, 3) uint8 RGB.
        """
        crop = self._whole(*_check_image(image))
        features = None if self._look is None else self._look.features(image)
        return PreparedImage(image, crop.image(image), crop, features)

    def warm_up(self) -> None:
        """Run the network once at each size that it can be shown, so that no click waits for memory or plans.

        A first look, which knows many sizes, is had at the largest alone.
        Whole images at their own size (a `native` protocol) are left out: they may have any.
        """
        sides = {self._zoom_side} if self.protocol.native else {self._long_side, self._zoom_side}
        if self._look is not None:
            self.predict(np.zeros((self._look.side, self._look.side, 3), np.uint8), [Click(0, 0)])
        for height, width in sorted({size for side in sides for size in network_sizes(side)}):
            image, previous = torch.zeros(1, 3, height, width), torch.zeros(1, 1, height, width)
            for engine in {self._coarse, self._fine}:
                self._logits(engine, image, previous, stack_clicks([[Click(0, 0)]]))

    def predict(
        self,
        image: Image | PreparedImage,
        clicks: Sequence[Click],
        previous: Plane | Prediction | None = None,
        box: Box | None = None,
    ) -> Prediction:
        """Predict the mask of the object that the clicks mean.

        Args:
            image: (H, W, 3) uint8 RGB, or what `prepare` made of it.
            clicks: in pixels of the image, in the order they were made.
            previous: the prediction of the call before, or a probability or mask (H, W) from elsewhere to be
                refined; of a prediction no full-size array is made.
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
        if self._look is not None:
            _look_first(self._look, active)
        for kind in self.protocol.passes:
            self._run([(job, crop) for job in active if (crop := self._crop(kind, job)) is not None], kind)
        return [
            Prediction(job.canvas if job.box is None else job.canvas.clipped(widen_box(job.box)))
            for job in jobs
        ]

    def describe(self, images: Sequence[Image]) -> list[npt.NDArray[np.float32]]:
        """What images look like to the encoder, without a click: mean and spread of the channels of its maps.

        Args:
            images: (H, W, 3) uint8 RGB.

        Returns:
            Vectors of one length, to be compared with those of the same checkpoint alone.
        """
        return [self._description(self.prepare(image)) for image in images]

    def _description(self, prepared: PreparedImage) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            if prepared.features is None:
                maps = self._encoder(self._encoder.stem(prepared.overview))
            else:
                maps = [prepared.features.values]
            pooled = [pool for one in maps for pool in (one.mean((0, 2, 3)), one.std((0, 2, 3)))]
        return np.asarray(torch.cat(pooled).numpy(), np.float32)

    @property
    def _zoom_side(self) -> int:
        return self.protocol.zoom_side or self._long_side

    def _whole(self, height: int, width: int) -> Crop:
        """The region of the pass over the whole image."""
        return full_region(height, width, max(height, width) if self.protocol.native else self._long_side)

    def _crop(self, kind: Pass, job: _Job) -> Crop | None:
        """The region of a pass; None where there is nothing to do."""
        shape, side = job.start.shape, self._zoom_side
        if kind == "full" or (kind == "ritm" and not job.start.any()):
            return self._whole(*shape)
        if kind == "ritm":
            return ritm_region(job.start.extent(ZOOM_THRESHOLD), shape, job.clicks, side)
        if kind == "zoom":
            return zoom_region(job.canvas.extent(ZOOM_THRESHOLD), shape, job.clicks, side)
        if len(job.clicks) < 2:  # the first click changed everything, which is what `zoom` looks at
            return None
        before, after = job.start.above(MASK_THRESHOLD), job.canvas.above(MASK_THRESHOLD)
        return focus_region(before, after, job.clicks[-1], side)

    def _run(self, work: Sequence[tuple[_Job, Crop]], kind: Pass) -> None:
        """One pass: run the network on the crops, and paint its probabilities over the jobs' own."""
        engine = self._coarse if kind in ("full", "ritm") else self._fine
        groups: dict[tuple[int, int], list[tuple[_Job, Crop]]] = defaultdict(list)
        for job, crop in work:
            groups[crop.height, crop.width].append((job, crop))
        for group in groups.values():
            image = torch.cat([job.view(crop) for job, crop in group])
            # a whole image is seen as it was before the click, also where a look has answered meanwhile
            befores = [job.start if kind == "full" else job.canvas for job, _ in group]
            previous = torch.cat([one.view(crop) for one, (_, crop) in zip(befores, group, strict=True)])
            clicks = stack_clicks([crop.clicks(job.clicks) for job, crop in group])
            result = self._logits(engine, image, previous, clicks).sigmoid()
            for (job, crop), item in zip(group, result, strict=True):
                patch = Patch.of(crop, item[0].numpy().copy())
                if kind == "full" and self._look is not None:
                    job.canvas = job.canvas.averaged(patch)
                    continue
                # RITM's answer is the zoomed region alone; elsewhere the pass before has had a look
                onto = Canvas(*job.start.shape) if kind == "ritm" else job.canvas
                job.canvas = onto.painted(patch)

    def _logits(self, engine: Engine, image: Tensor, previous: Tensor, clicks: Tensor) -> Tensor:
        """Mask logits (B, 1, h, w), averaged with the mirrored ones where the protocol says so."""
        logits = engine(image, previous, clicks)
        if not self.protocol.flip:
            return logits
        rows, cols, signs = clicks.unbind(-1)
        mirrored = torch.stack([rows, image.shape[-1] - 1 - cols, signs], dim=-1)
        return (logits + engine(image.flip(-1), previous.flip(-1), mirrored).flip(-1)) / 2


def _look_first(look: Look, jobs: Sequence[_Job]) -> None:
    """Paint what a look answers; of images that it is shown at one size, together.

    It knows boxes: it is given their corners, where our network is shown a filled box as a rough mask.
    """
    groups: dict[torch.Size, list[tuple[_Job, Features]]] = defaultdict(list)
    for job in jobs:
        features = job.features(look)
        groups[features.values.shape].append((job, features))
    for group in groups.values():
        views = [job.start.view(features.crop) * (not job.boxed) for job, features in group]
        prompts = stack_prompts(*zip(*(job.prompts(features.crop) for job, features in group), strict=True))
        result = look.answer([features for _, features in group], torch.cat(views), prompts)
        for (job, features), item in zip(group, result, strict=True):
            job.canvas = job.canvas.painted(Patch.of(features.crop, item[0].numpy().copy()))


def _job(request: Request) -> _Job:
    """Check a request and set out."""
    height, width = _check_image(request.pixels)
    check_clicks(request.clicks, height, width)
    clicks, box, start = request.clicks, request.box, Canvas(height, width)
    if request.previous is not None:
        start = _check_previous(request.previous, height, width)
    boxed = box is not None and not start.any()
    if box is not None:
        box = clip_box(box, height, width)
        clicks, start = fill_box(box, clicks, start)
    return _Job(request.image, clicks, box, request.clicks, boxed, start, start)


def _check_image(image: Image) -> tuple[int, int]:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ImageError(f"the image is {image.dtype} of shape {image.shape}; give (H, W, 3) uint8 RGB")
    return image.shape[0], image.shape[1]


def _check_previous(previous: Plane | Prediction, height: int, width: int) -> Canvas:
    shape = previous.canvas.shape if isinstance(previous, Prediction) else previous.shape
    if shape != (height, width):
        raise MaskError(f"the previous mask is {shape}, the image {(height, width)}; give equal sizes")
    canvas = previous.canvas if isinstance(previous, Prediction) else Canvas.of(previous)
    return canvas if canvas.any() else Canvas(height, width)
