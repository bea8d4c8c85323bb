"""Results: what an evaluation measured, object by object, the figures drawn from it, and its file.

NoC@t is the number of the first click after which IoU >= t, the most clicks allowed (20) where that never
happens, averaged over objects. NoF@t counts the objects that all these clicks did not solve. (RITM's code
counts an object solved by the 20th click among the failures; we do not.)
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from maskloop.arrays import Mask
from maskloop.clicks import Click
from maskloop.errors import EvaluationError
from maskloop.masks import decode_coco

MAX_CLICKS = 20
THRESHOLDS = (80, 85, 90, 95)
"""IoU in percent at which clicks are counted."""
HISTOGRAM_BINS = {"1-5": (1, 5), "6-10": (6, 10), "11-15": (11, 15), "16-20": (16, 20)}
SIZES = {"small": 32**2, "medium": 96**2, "large": math.inf}
"""COCO's names of sizes, and the area in pixels below which an object has them."""
SHARES = {"below 1 %": 0.01, "1 to 10 %": 0.1, "above 10 %": math.inf}
"""The same for the share of the image that an object covers."""
FORMAT, VERSION = "maskloop result", 1
SETTINGS = ("model", "dataset", "annotator", "max_clicks", "stop")
"""What a result file says of the evaluation as a whole: fields of `Report`."""


@dataclass(frozen=True)
class ObjectResult:
    """One object and what happened to it, click by click.

    `image_id` and `source` are the sample's. `area` counts the object's pixels. `ious` has an entry for every
    click allowed; where no more were made, since nothing was left to correct or the evaluation stopped early,
    that of the last mask. `seconds` and `clicks` have one for every click made. `boundary_iou` is that of the
    last mask. `masks` holds COCO run lengths by number of clicks: 1 and 5 where so many were made, and the
    last.
    """

    image_id: str
    category: str
    height: int
    width: int
    area: int
    ious: tuple[float, ...]
    seconds: tuple[float, ...]
    clicks: tuple[Click, ...]
    boundary_iou: float
    masks: Mapping[int, str]
    source: str = ""

    @property
    def image(self) -> str:
        """The image that the object is in."""
        return image_of(self.image_id)

    @property
    def size(self) -> str:
        """A name of `SIZES`."""
        return next(name for name, end in SIZES.items() if self.area < end)

    @property
    def share(self) -> str:
        """A name of `SHARES`."""
        return next(name for name, end in SHARES.items() if self.area / (self.height * self.width) < end)

    def clicks_to(self, threshold: float) -> int | None:
        """Number of the first click that reached an IoU; None if none did."""
        return next((number for number, iou in enumerate(self.ious, start=1) if iou >= threshold), None)

    def mask(self, after: int) -> Mask:
        """The mask after 1, 5 or all clicks, (H, W) bool; the last one where fewer clicks were made."""
        return decode_coco(
            {"size": [self.height, self.width], "counts": self.masks[min(after, len(self.clicks))]}
        )


@dataclass(frozen=True)
class Report:
    """Results over a dataset.

    `annotator` is what `Annotator.describe` says. `stop` is the IoU at which an object got no more clicks.
    With one, the later part of `iou_at_click` and the boundary IoU are of masks that more clicks would have
    changed: not to be compared with those of an evaluation that made all clicks.
    """

    model: str
    dataset: str
    annotator: Mapping[str, Any]
    objects: tuple[ObjectResult, ...]
    max_clicks: int = MAX_CLICKS
    stop: float | None = None

    @property
    def thresholds(self) -> tuple[int, ...]:
        """The IoUs in percent that the evaluation can speak of."""
        return tuple(percent for percent in THRESHOLDS if self.stop is None or percent / 100 <= self.stop)

    def noc(self, threshold: float) -> float:
        """Mean number of clicks to an IoU."""
        return float(np.mean(self.clicks_to(threshold)))

    def clicks_to(self, threshold: float) -> list[int]:
        """Clicks to an IoU, an entry an object; the most allowed where it was never reached."""
        return [number or self.max_clicks for number in self._clicks_to(threshold)]

    def failures(self, threshold: float) -> int:
        """Objects that never reached an IoU."""
        return self._clicks_to(threshold).count(None)

    def histogram(self, threshold: float = 0.9) -> dict[str, int]:
        """Objects by the number of clicks they took to an IoU; those that never reached it are `failed`."""
        solved = [number for number in self._clicks_to(threshold) if number is not None]
        bins = {
            name: sum(low <= number <= high for number in solved)
            for name, (low, high) in HISTOGRAM_BINS.items()
        }
        return {**bins, "failed": self.failures(threshold)}

    def iou_at_click(self) -> list[float]:
        """Mean IoU after click 1, 2, ..."""
        return [float(value) for value in np.mean([item.ious for item in self.objects], axis=0)]

    def boundary_iou(self) -> float:
        """Mean boundary IoU after the last click."""
        return float(np.mean([item.boundary_iou for item in self.objects]))

    def seconds_per_click(self, until: float | None = None) -> float:
        """Mean seconds of a prediction, over all clicks, or only those up to the one that reached an IoU."""
        ends = [None] * len(self.objects) if until is None else self._clicks_to(until)
        seconds = [
            value for item, end in zip(self.objects, ends, strict=True) for value in item.seconds[:end]
        ]
        return float(np.mean(seconds)) if seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain values for JSON; after an early stop only those that it can tell."""
        figures: dict[str, Any] = {
            "objects": len(self.objects),
            "stop": self.stop,
            **{f"noc{percent}": self.noc(percent / 100) for percent in self.thresholds},
            **{f"nof{percent}": self.failures(percent / 100) for percent in self.thresholds},
            "iou_at_click": self.iou_at_click(),
            "boundary_iou": self.boundary_iou(),
            "seconds_per_click": self.seconds_per_click(),
        }
        if 90 in self.thresholds:
            figures |= {
                "histogram90": self.histogram(0.9),
                "seconds_per_click_to_90": self.seconds_per_click(until=0.9),
            }
        return figures

    def to_frame(self) -> pd.DataFrame:
        """One row an object; the mean of a column of figures is the figure of the dataset.

        image_id, image, category, source, height, width, area, size, share; noc<percent>, failed<percent>;
        iou1, iou2, ... after each click; boundary_iou; clicks made and the mean seconds of one.
        """
        frame = pd.DataFrame([self._row(item) for item in self.objects])
        for name, bins in (("size", SIZES), ("share", SHARES)):
            frame[name] = pd.Categorical(frame[name], categories=list(bins), ordered=True)
        return frame

    def write(self, path: Path) -> None:
        """Write a result file: JSON with the figures and every object."""
        content = {
            "format": FORMAT,
            "version": VERSION,
            **{name: getattr(self, name) for name in SETTINGS},
            "figures": self.to_dict(),
            "results": [_object_to_dict(item) for item in self.objects],
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content) + "\n", encoding="utf-8")
        except OSError as error:
            raise EvaluationError(f"cannot write the result file {str(path)!r}: {error.strerror}") from error

    @classmethod
    def merge(cls, reports: Sequence["Report"]) -> "Report":
        """One report of the parts of a dataset, in the order given.

        Raises:
            EvaluationError: there are none, or they differ in more than their objects.
        """
        if not reports:
            raise EvaluationError("there is no report to merge; give the report of each part")
        settings = {name: [getattr(report, name) for report in reports] for name in SETTINGS}
        for name, values in settings.items():
            if other := [value for value in values if value != values[0]]:
                raise EvaluationError(
                    f"reports of the {name} {values[0]!r} and {other[0]!r} are not parts of one evaluation"
                )
        objects = tuple(item for report in reports for item in report.objects)
        return replace(reports[0], objects=objects)

    @classmethod
    def read(cls, path: Path) -> "Report":
        """Read a result file.

        Raises:
            EvaluationError: there is none, it is of another kind or version, or damaged.
        """
        content = _read_json(path)
        try:
            objects = tuple(_object_from_dict(item, content["max_clicks"]) for item in content["results"])
            return cls(objects=objects, **{name: content[name] for name in SETTINGS})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise EvaluationError(
                f"the result file {str(path)!r} is damaged ({error!r}); evaluate again"
            ) from error

    def _clicks_to(self, threshold: float) -> list[int | None]:
        if self.stop is not None and threshold > self.stop:
            raise EvaluationError(
                f"the evaluation stopped at IoU {self.stop}, so it cannot tell the clicks to {threshold};"
                " evaluate without an early stop"
            )
        return [item.clicks_to(threshold) for item in self.objects]

    def _row(self, item: ObjectResult) -> dict[str, Any]:
        to = {percent: item.clicks_to(percent / 100) for percent in self.thresholds}
        return {
            "image_id": item.image_id,
            "image": item.image,
            "category": item.category,
            "source": item.source,
            "height": item.height,
            "width": item.width,
            "area": item.area,
            "size": item.size,
            "share": item.share,
            **{f"noc{percent}": number or self.max_clicks for percent, number in to.items()},
            **{f"failed{percent}": number is None for percent, number in to.items()},
            **{f"iou{number}": iou for number, iou in enumerate(item.ious, start=1)},
            "boundary_iou": item.boundary_iou,
            "clicks": len(item.clicks),
            "seconds_per_click": float(np.mean(item.seconds)) if item.seconds else 0.0,
        }


def image_of(image_id: str) -> str:
    """The image that a sample is of: its `image_id` without the number of the object."""
    return re.sub(r"#\d+$", "", image_id)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvaluationError(
            f"cannot read the result file {str(path)!r}: {error.strerror}; `maskloop evaluate` writes one"
        ) from error
    except ValueError as error:
        raise EvaluationError(f"{str(path)!r} is no result file, not even JSON: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise EvaluationError(f"{str(path)!r} is JSON, but no result file of `maskloop evaluate`")
    if content.get("version") != VERSION:
        raise EvaluationError(
            f"the result file {str(path)!r} has version {content.get('version')!r}, this maskloop reads"
            f" {VERSION}; evaluate again"
        )
    return content


def _object_to_dict(item: ObjectResult) -> dict[str, Any]:
    clicks = [[click.row, click.col, click.positive] for click in item.clicks]
    return {**vars(item), "clicks": clicks, "masks": dict(item.masks)}


def _object_from_dict(values: Mapping[str, Any], max_clicks: int) -> ObjectResult:
    if len(values["ious"]) != max_clicks:
        raise ValueError(f"{len(values['ious'])} IoUs of {max_clicks} clicks")
    changed = {
        "ious": tuple(values["ious"]),
        "seconds": tuple(values["seconds"]),
        "clicks": tuple(Click(*click) for click in values["clicks"]),
        "masks": {int(number): counts for number, counts in values["masks"].items()},
    }
    return ObjectResult(**{**values, **changed})
