"""Regions: a mask as Label Studio stores it, as brush, polygon or bitmask, and back.

A polygon has one ring in Label Studio; holes and pieces are reached through keyholes, so nothing is lost.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from maskloop.errors import ImageError, MaskError
from maskloop.images import decode_mask, encode_mask
from maskloop.keyholes import join_rings
from maskloop.masks import (
    ellipse_to_mask,
    encode_brush,
    mask_to_polygons,
    polygon_to_runs,
    read_brush,
    rectangle_to_mask,
)
from maskloop.runs import Runs

Result = Mapping[str, Any]
Mask = npt.NDArray[np.bool_]
Shape = Literal["brush", "polygon", "bitmask"]
"""What a mask can be stored as."""

POLYGON_TOLERANCE = 0.003
"""How far a polygon may leave the border of its mask: this share of the mask's longer side, yet at least"""
LEAST_TOLERANCE = 0.75
"""this many pixels, about what a hand can place."""

_PNG = "data:image/png;base64,"


def region_value(mask: Mask | Runs, shape: Shape) -> dict[str, Any]:
    """A mask as the `value` of a region, without its label.

    Brush and bitmask hold every pixel; a polygon follows the border within `POLYGON_TOLERANCE`.

    Raises:
        MaskError: the mask is empty, or not of two dimensions.
    """
    runs = mask if isinstance(mask, Runs) else Runs.of(mask)
    if not runs.filled.any():
        raise MaskError("An empty mask is no region: leave it out.")
    return _VALUES[shape](runs)


def _brush_value(runs: Runs) -> dict[str, Any]:
    return {"format": "rle", "rle": encode_brush(runs)}


def _polygon_value(runs: Runs) -> dict[str, Any]:
    mask = runs.mask()
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    longer = max(rows[-1] - rows[0], cols[-1] - cols[0]) + 1
    pieces = mask_to_polygons(mask, max(LEAST_TOLERANCE, POLYGON_TOLERANCE * longer))
    ring = join_rings([ring for piece in pieces for ring in piece])
    percent = (ring[:, ::-1] + 0.5) / (mask.shape[1], mask.shape[0]) * 100
    return {"points": percent.round(5).tolist(), "closed": True}


def _bitmask_value(runs: Runs) -> dict[str, Any]:
    return {"imageDataURL": _PNG + base64.b64encode(encode_mask(runs.mask())).decode("ascii")}


_VALUES = {"brush": _brush_value, "polygon": _polygon_value, "bitmask": _bitmask_value}


@dataclass(frozen=True)
class Region:
    """A drawn region before its pixels are worked out."""

    id: str
    label: str
    geometry: str  # brush, bitmask, polygon, ellipse or rectangle
    height: int
    width: int
    result: Result

    def mask(self) -> Mask:
        """Pixels of the region, (height, width) bool; errors as for `runs`."""
        return self.runs().mask()

    def runs(self) -> Runs:
        """Pixels of the region as runs.

        Raises:
            MaskError: the region is rotated with its image, or its values describe no mask.
        """
        if self.result.get("image_rotation"):
            raise MaskError(
                f"Region {self.id!r} was drawn on an image rotated in the editor: turn it back, save again."
            )
        try:
            return _RUNS[self.geometry](self.result["value"], self.height, self.width)
        except (LookupError, TypeError, ValueError, ArithmeticError, ImageError) as error:
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
    needed, value = _GEOMETRIES_NEED.get(geometry), result.get("value")
    return geometry if needed and isinstance(value, Mapping) and needed in value else ""


def _label(result: Result) -> str:
    value = result.get("value", {})
    labels = value.get(result.get("type", "")) if isinstance(value, Mapping) else None
    return str(labels[0]) if isinstance(labels, list) and labels and isinstance(labels[0], str) else ""


# Label Studio gives percent of the image from its upper left corner; maskloop counts from the centre of the
# first pixel.


def _brush(value: Result, height: int, width: int) -> Runs:
    return read_brush(value["rle"], height, width)


def _bitmask(value: Result, height: int, width: int) -> Runs:
    header, _, payload = str(value["imageDataURL"]).partition(",")
    try:
        mask = decode_mask(base64.b64decode(payload, validate=True), max_pixels=height * width)
    except binascii.Error as error:
        raise MaskError(f"The bitmask {header[:40]!r} holds no valid base64: {error}.") from error
    if mask.shape != (height, width):
        raise MaskError(f"The bitmask has {mask.shape} pixels, its image {(height, width)}: draw it again.")
    return Runs.of(mask)


def _polygon(value: Result, height: int, width: int) -> Runs:
    points = np.asarray(value["points"], dtype=np.float64)  # (N, 2), x before y
    ring = points[:, ::-1] / 100 * (height, width) - 0.5
    return polygon_to_runs([ring], height, width)


def _rectangle(value: Result, height: int, width: int) -> Runs:
    corner = (value["y"] / 100 * height - 0.5, value["x"] / 100 * width - 0.5)
    size = (value["height"] / 100 * height, value["width"] / 100 * width)
    return Runs.of(rectangle_to_mask(corner, size, height, width, value.get("rotation", 0)))


def _ellipse(value: Result, height: int, width: int) -> Runs:
    centre = (value["y"] / 100 * height - 0.5, value["x"] / 100 * width - 0.5)
    radii = (value["radiusY"] / 100 * height, value["radiusX"] / 100 * width)
    return Runs.of(ellipse_to_mask(centre, radii, height, width, value.get("rotation", 0)))


_GEOMETRIES_NEED = {
    "brush": "rle",
    "bitmask": "imageDataURL",
    "polygon": "points",
    "ellipse": "radiusX",
    "rectangle": "width",
}
_GEOMETRIES = tuple(_GEOMETRIES_NEED)
_RUNS = {
    "brush": _brush,
    "bitmask": _bitmask,
    "polygon": _polygon,
    "ellipse": _ellipse,
    "rectangle": _rectangle,
}
