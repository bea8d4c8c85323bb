"""The sample photos of the demo, and the outlines drawn for this project.

The photos come inside packages that are installed anyway (scikit-image, scikit-learn, matplotlib); nothing
is downloaded. `polygons.json` is a list of photos: `name`, the `package` and the `path` in it, and `objects`,
each a `label` and the `rings` of its outline. A ring is a closed line of [row, col] points in pixels; an
integer is the centre of a pixel. What is seen between the parts of an object (through the spokes of a wheel)
counts as the object.
"""

import importlib.util
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from maskloop.errors import DatasetError

Ring = npt.NDArray[np.float64]
"""(N, 2) points, (row, col) in pixels."""

POLYGONS = Path(__file__).with_name("polygons.json")


class SampleObject(NamedTuple):
    """An object of a sample photo, as `maskloop.masks.polygon_to_mask` takes it."""

    label: str
    rings: list[Ring]


class SamplePhoto(NamedTuple):
    """A photo, byte for byte as its package stores it; `suffix` starts with a dot."""

    name: str
    suffix: str
    image_bytes: bytes
    objects: list[SampleObject]


def load_samples() -> list[SamplePhoto]:
    """All sample photos, in the order a newcomer meets them.

    Raises DatasetError when a package, or the photo in it, is missing.
    """
    return [_photo(entry) for entry in json.loads(POLYGONS.read_text(encoding="utf-8"))]


def _photo(entry: dict[str, Any]) -> SamplePhoto:
    path = _package_folder(entry["package"]) / entry["path"]
    if not path.is_file():
        raise DatasetError(
            f"The installed {entry['package']} holds no {entry['path']}: run `make setup`, "
            "which installs the versions of constraints.txt."
        )
    objects = [_object(item) for item in entry["objects"]]
    return SamplePhoto(entry["name"], path.suffix, path.read_bytes(), objects)


def _object(entry: dict[str, Any]) -> SampleObject:
    return SampleObject(entry["label"], [np.array(ring, dtype=np.float64) for ring in entry["rings"]])


def _package_folder(package: str) -> Path:
    """The folder of an installed package, found without importing it: scikit-learn takes seconds."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise DatasetError(f"The package {package}, which holds sample photos, is missing: run `make setup`.")
    return Path(spec.origin).parent
