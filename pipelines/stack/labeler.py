"""A labeler without hands: clicks through Label Studio until each mask is good, then submits."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from maskloop.clicks import Click, next_click
from maskloop.images import decode_image
from maskloop.masks import decode_brush, encode_brush, polygon_to_mask
from maskloop.metrics import intersection_over_union
from pipelines.data.samples import SamplePhoto
from pipelines.label_studio.client import LabelStudio
from pipelines.stack.project import LABEL

Mask = npt.NDArray[np.bool_]

GOOD_IOU = 0.85
"""IoU from which a mask is submitted as the clicks made it."""
MOST_CLICKS = 10


@dataclass(frozen=True)
class Labelled:
    """How an object was labelled. Where the clicks did not make a `good` mask, it was painted by hand."""

    photo: str
    label: str
    clicks: int
    iou: float
    good: bool


@dataclass(frozen=True)
class Labeler:
    """Knows the outlines of the sample photos, and labels as a person would who sees them."""

    client: LabelStudio
    backend: int
    good_iou: float = GOOD_IOU

    def label(self, task: int, photo: SamplePhoto) -> list[Labelled]:
        """Label every object of a photo and submit one annotation that holds them all."""
        height, width = decode_image(photo.image_bytes).shape[:2]
        targets = [(name, polygon_to_mask(rings, height, width)) for name, rings in photo.objects]
        return self.label_masks(task, photo.name, targets)

    def label_masks(self, task: int, photo: str, targets: Sequence[tuple[str, Mask]]) -> list[Labelled]:
        """The same for objects whose masks are known, each a name and a mask of the photo's size."""
        start = time.monotonic()
        regions, labelled = [], []
        for name, target in targets:
            attempt = self._click(task, target)
            regions.append(attempt.region if attempt.region and attempt.good else painted(target))
            labelled.append(Labelled(photo, name, attempt.clicks, attempt.iou, attempt.good))
        self.client.submit(task, regions, time.monotonic() - start)
        return labelled

    def _click(self, task: int, target: Mask) -> "_Attempt":
        """Click at the simulated annotator's places until the mask is good, or the clicks are used up."""
        clicks: list[Click] = []
        attempt = _Attempt(0, 0.0, None, good=False)
        mask = np.zeros_like(target)
        while not attempt.good and len(clicks) < MOST_CLICKS:
            click = next_click(mask, target, clicked=clicks)
            if click is None:
                break
            clicks.append(click)
            answer = self.client.predict(self.backend, task, [prompt(one, *target.shape) for one in clicks])
            region = next(iter(answer.get("result", [])), None)
            mask = _mask_of(region) if region else np.zeros_like(target)
            iou = intersection_over_union(mask, target)
            attempt = _Attempt(len(clicks), iou, region, good=iou >= self.good_iou)
        return attempt


@dataclass(frozen=True)
class _Attempt:
    clicks: int
    iou: float
    region: dict[str, Any] | None
    good: bool


def prompt(click: Click, height: int, width: int) -> dict[str, Any]:
    """A click as the editor sends it: in percent, where the centre of pixel i is at (i + 0.5) / size."""
    place = {"x": (click.col + 0.5) / width * 100, "y": (click.row + 0.5) / height * 100, "width": 0.3}
    return {
        "id": secrets.token_hex(5),
        "type": "keypointlabels",
        "from_name": "include" if click.positive else "exclude",
        "to_name": "image",
        "origin": "manual",
        "is_positive": True,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": place | {"labels": [LABEL], "keypointlabels": [LABEL]},
    }


def painted(mask: Mask) -> dict[str, Any]:
    """A mask as a region that was painted with the brush."""
    height, width = mask.shape
    return {
        "id": secrets.token_hex(5),
        "type": "brushlabels",
        "from_name": "brush",
        "to_name": "image",
        "origin": "manual",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": encode_brush(mask), "brushlabels": [LABEL]},
    }


def _mask_of(region: dict[str, Any]) -> Mask:
    return decode_brush(region["value"]["rle"], region["original_height"], region["original_width"])
