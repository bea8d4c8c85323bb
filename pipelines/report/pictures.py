"""Pictures of objects: the photo around one, its outline, the mask that was predicted, and the clicks."""

import base64
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from maskloop.arrays import Image, Mask
from maskloop.clicks import Click
from maskloop.datasets import Sample
from maskloop.evaluation import ObjectResult, Report
from maskloop.masks import mask_to_polygons

SHOWN = 3
"""Objects of each kind: best, median, worst."""
LONG_SIDE = 480
"""Longer side of a picture in pixels."""
MARGIN = 0.3
"""Of the photo around object, mask and clicks, as a share of their extent."""
QUALITY = 82


@dataclass(frozen=True)
class Mark:
    """A click in a picture, x and y in its pixels; an object's click is a disc, one beside it a square."""

    x: float
    y: float
    number: int
    positive: bool


@dataclass(frozen=True)
class Picture:
    """An object as it is drawn: a JPEG as data URL, SVG paths over it, and what is told of it."""

    photo: str
    width: int
    height: int
    target: str
    mask: str
    marks: Sequence[Mark]
    name: str
    category: str
    iou: float
    clicks: int
    solved: int | None


@dataclass(frozen=True)
class Gallery:
    """The pictures of one kind."""

    title: str
    pictures: Sequence[Picture]


def galleries(report: Report, samples: Iterable[Sample]) -> list[Gallery]:
    """The best, the median and the worst objects of a result.

    Args:
        report: the result.
        samples: of its dataset; only those of the objects shown are looked at.
    """
    chosen = extremes(report.objects)
    wanted = {item.image_id: item for items in chosen.values() for item in items}
    pictures = {}
    for sample in samples:
        if sample.image_id in wanted:
            pictures[sample.image_id] = draw(sample, wanted[sample.image_id])
        if len(pictures) == len(wanted):
            break
    return [
        Gallery(title, [pictures[item.image_id] for item in items if item.image_id in pictures])
        for title, items in chosen.items()
    ]


def extremes(objects: Sequence[ObjectResult], count: int = SHOWN) -> dict[str, list[ObjectResult]]:
    """Best, median and worst objects: by clicks to 90 %, then by the last IoU; none is in two kinds."""
    ranked = sorted(objects, key=lambda item: (item.clicks_to(0.9) or math.inf, -item.ious[-1]))
    count = min(count, len(ranked) // 3) or 1
    middle = max(0, (len(ranked) - count) // 2)
    kinds = {
        "Best": ranked[:count],
        "Median": ranked[middle : middle + count],
        "Worst": ranked[::-1][:count],
    }
    # of one or two objects there is no median
    return kinds if len(ranked) >= 3 else {"All": ranked}


def draw(sample: Sample, item: ObjectResult) -> Picture:
    """One object after the clicks that the result keeps a mask of: those that solved it, or all."""
    solved = item.clicks_to(0.9)
    after = min((n for n in item.masks if n >= (solved or math.inf)), default=len(item.clicks))
    mask, clicks = item.mask(after), item.clicks[:after]
    top, left, bottom, right = window(sample.mask | mask, clicks)
    scale = LONG_SIDE / max(bottom - top, right - left)
    return Picture(
        photo=data_url(sample.image[top:bottom, left:right], min(scale, 1.0)),
        width=round((right - left) * scale),
        height=round((bottom - top) * scale),
        target=outline(sample.mask[top:bottom, left:right], scale),
        mask=outline(mask[top:bottom, left:right], scale),
        marks=[
            Mark((click.col - left + 0.5) * scale, (click.row - top + 0.5) * scale, number, click.positive)
            for number, click in enumerate(clicks, start=1)
        ],
        name=item.image_id,
        category=item.category,
        iou=item.ious[after - 1] if after else item.ious[-1],
        clicks=after,
        solved=solved,
    )


def window(region: Mask, clicks: Sequence[Click]) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of what is shown of the photo."""
    rows, cols = np.nonzero(region)
    rows = np.concatenate([rows, [click.row for click in clicks]])
    cols = np.concatenate([cols, [click.col for click in clicks]])
    extent = max(float(np.ptp(rows)), float(np.ptp(cols)), 48.0)
    margin = MARGIN * extent
    height, width = region.shape
    return (
        max(0, math.floor(rows.min() - margin)),
        max(0, math.floor(cols.min() - margin)),
        min(height, math.ceil(rows.max() + margin) + 1),
        min(width, math.ceil(cols.max() + margin) + 1),
    )


def data_url(photo: Image, scale: float) -> str:
    """A JPEG of the photo, never larger than it is: the page stretches it."""
    size = (max(1, round(photo.shape[1] * scale)), max(1, round(photo.shape[0] * scale)))
    resized = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(resized, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"


def outline(mask: Mask, scale: float) -> str:
    """SVG path data of a mask, holes included; empty for an empty mask."""
    if not mask.any():
        return ""
    rings = [ring for piece in mask_to_polygons(mask, tolerance=0.4) for ring in piece]
    return "".join(
        "M" + "L".join(f"{(col + 0.5) * scale:.1f} {(row + 0.5) * scale:.1f}" for row, col in ring) + "Z"
        for ring in rings
    )
