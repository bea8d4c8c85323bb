"""Regions: what a person drew in Label Studio, as one mask each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from maskloop.errors import MaskError
from maskloop.masks import decode_brush, ellipse_to_mask, polygon_to_mask, rectangle_to_mask

Result = Mapping[str, Any]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Region:
    """A drawn region before its pixels are worked out."""

    id: str
    label: str
    geometry: str  # brush, polygon, ellipse or rectangle
    height: int
    width: int
    result: Result

    def mask(self) -> Mask:
        """Pixels of the region, (height, width) bool.

        Raises:
            MaskError: the region is rotated with its image, or its values describe no mask.
        """
        if self.result.get("image_rotation"):
            raise MaskError(
                f"Region {self.id!r} was drawn on an image rotated in the editor: turn it back, save again."
            )
        try:
            return _MASKS[self.geometry](self.result["value"], self.height, self.width)
        except (KeyError, TypeError, ValueError) as error:
            raise MaskError(
                f"Region {self.id!r} is no {self.geometry} ({error!r}): draw it again."
            ) from error


def regions(results: Sequence[Result], prompts: frozenset[str] = frozenset()) -> Iterator[Region]:
    """The regions among an annotation's results, each once.

    Label Studio may give several results with one id: the mask, its label, and the ghost of the click that
    asked for it (a `keypointlabels` result that carries the mask's run lengths). The geometry decides which
    of them is the mask.

    Args:
        results: `result` of an annotation.
        prompts: controls whose regions are questions to the model and no answers.
    """
    by_id: dict[str, list[Result]] = {}
    for result in results:
        if result.get("from_name") not in prompts:
            by_id.setdefault(str(result.get("id", "")), []).append(result)
    for region_id, group in by_id.items():
        drawn = [(geometry, result) for result in group if (geometry := _geometry(result))]
        if drawn:
            geometry, result = min(drawn, key=lambda pair: _GEOMETRIES.index(pair[0]))
            yield Region(
                id=region_id,
                label=next(filter(None, map(_label, (result, *group))), ""),
                geometry=geometry,
                height=int(result.get("original_height", 0)),
                width=int(result.get("original_width", 0)),
                result=result,
            )


def _geometry(result: Result) -> str:
    """Which geometry a result carries by its type and its values; empty for none."""
    geometry = str(result.get("type", "")).removesuffix("labels")
    needed = _GEOMETRIES_NEED.get(geometry)
    return geometry if needed and needed in result.get("value", {}) else ""


def _label(result: Result) -> str:
    value = result.get("value", {})
    labels = value.get(result.get("type", "")) if isinstance(value, Mapping) else None
    return str(labels[0]) if isinstance(labels, list) and labels and isinstance(labels[0], str) else ""


# Label Studio gives percent of the image from its upper left corner; maskloop counts from the centre of the
# first pixel.


def _brush(value: Result, height: int, width: int) -> Mask:
    return decode_brush(value["rle"], height, width)


def _polygon(value: Result, height: int, width: int) -> Mask:
    points = np.asarray(value["points"], dtype=np.float64)  # (N, 2), x before y
    ring = points[:, ::-1] / 100 * (height, width) - 0.5
    return polygon_to_mask([ring], height, width)


def _rectangle(value: Result, height: int, width: int) -> Mask:
    corner = (value["y"] / 100 * height - 0.5, value["x"] / 100 * width - 0.5)
    size = (value["height"] / 100 * height, value["width"] / 100 * width)
    return rectangle_to_mask(corner, size, height, width, value.get("rotation", 0))


def _ellipse(value: Result, height: int, width: int) -> Mask:
    centre = (value["y"] / 100 * height - 0.5, value["x"] / 100 * width - 0.5)
    radii = (value["radiusY"] / 100 * height, value["radiusX"] / 100 * width)
    return ellipse_to_mask(centre, radii, height, width, value.get("rotation", 0))


_GEOMETRIES_NEED = {"brush": "rle", "polygon": "points", "ellipse": "radiusX", "rectangle": "width"}
_GEOMETRIES = tuple(_GEOMETRIES_NEED)
_MASKS = {"brush": _brush, "polygon": _polygon, "ellipse": _ellipse, "rectangle": _rectangle}
