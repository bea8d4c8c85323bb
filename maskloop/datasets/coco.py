"""COCO's instances, and what other programs export in its format.

    annotations/instances_val2017.json    val2017/<file_name>

or any other folder with one JSON file, in itself or in `annotations/`, or the path of a JSON file. The images
lie beside the JSON file or above `annotations/`: there, or in `images/`, or in a folder of the subset's name
(`val2017` of instances_val2017.json) in either. Where the JSON file names another place, as exports of Label
Studio may, an image of the same name in those folders is taken.

Left out is what is no mask of one object: `iscrowd`, rectangles without segmentation, what covers no pixel.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pycocotools import mask as codec

from maskloop.arrays import Mask
from maskloop.datasets.categories import SEEN
from maskloop.datasets.samples import CACHED_IMAGES, Read, Sample, checked_sample, found, unknown_split
from maskloop.errors import DatasetError, ImageError, MaskError
from maskloop.images import read_image
from maskloop.masks import decode_coco

PREFERRED = "instances_val2017.json"
SPLITS = ("seen", "unseen")
OBJECTS_PER_CATEGORY = 10
TRUSTED_AREA = 4.0
"""An annotation that says it is smaller, or does not say its area, is drawn to see whether it has a pixel."""


@dataclass(frozen=True)
class Instance:
    """One annotation; its segmentation is as in the file."""

    image_id: str
    file_name: str
    number: int
    height: int
    width: int
    category: str
    segmentation: Any

    def mask(self) -> Mask:
        """(H, W) bool; MaskError when the segmentation is damaged."""
        return segmentation_to_mask(self.segmentation, self.height, self.width)


def open_coco(root: Path, split: str | None) -> list[Read]:
    """One reader an instance, image by image.

    Split `seen` is ten objects of each category of Pascal VOC, `unseen` ten of each other one; a category
    with fewer gives all. The ten are those whose annotation's number, as text, has the lowest SHA-256, so
    that everyone draws the same. Without a split it is all instances.
    """
    file = _annotation_file(root)
    instances = load_instances(file)
    if split is not None:
        instances = _draw(file, instances, split)
    return readers(instances, _image_folders(file))


def load_instances(file: Path) -> list[Instance]:
    """The masks of a COCO-style JSON file, in the order of its images.

    Raises:
        DatasetError: the file is damaged, in another format, or holds no mask of one object.
    """
    content = _read_json(file)
    try:
        categories = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
        images = {entry["id"]: entry for entry in content["images"]}
        kept = [
            entry
            for entry in content["annotations"]
            if not entry.get("iscrowd") and entry.get("segmentation")
        ]
        instances = [_instance(entry, images, categories) for entry in kept]
        whole = [
            instance
            for entry, instance in zip(kept, instances, strict=True)
            if (entry.get("area") or 0) >= TRUSTED_AREA or instance.mask().any()
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f"{str(file)!r} is not in COCO's format, which has images with id, file_name, height, width,"
            " annotations with id, image_id, category_id, segmentation, and categories with id, name:"
            f" {error!r}."
        ) from error
    except MaskError as error:
        raise DatasetError(f"{str(file)!r}: {error}") from error
    if not whole:
        raise DatasetError(_nothing_left(file, content["annotations"]))
    order = {str(entry["file_name"]): place for place, entry in enumerate(images.values())}
    return sorted(whole, key=lambda instance: order[instance.file_name])


def readers(
    instances: Sequence[Instance], folders: Sequence[Path], prefix: str = "", category: str | None = None
) -> list[Read]:
    """One reader an instance.

    Args:
        instances: what is read.
        folders: where the images may lie; the first that has a file of the name is taken.
        prefix: of each sample's `image_id`.
        category: of all samples; each instance's own when not given.

    Raises:
        DatasetError: the first image is in none of the folders.
    """
    _find_image(instances[0].file_name, folders)
    cached = lru_cache(maxsize=CACHED_IMAGES)(read_image)

    def read(instance: Instance) -> Sample:
        image_id = f"{prefix}{instance.image_id}#{instance.number}"
        try:
            image = cached(_find_image(instance.file_name, folders))
            mask = instance.mask()
        except (ImageError, MaskError) as error:
            raise DatasetError(f"Sample {image_id!r}: {error}") from error
        name = instance.category if category is None else category
        return checked_sample(image_id, image, mask, category=name)

    return [partial(read, instance) for instance in instances]


def segmentation_to_mask(segmentation: Any, height: int, width: int) -> Mask:
    """Polygons, or run lengths as text or as list, to a mask (H, W), with the pixels that pycocotools gives.

    Raises:
        MaskError: the segmentation is damaged.
    """
    if isinstance(segmentation, list):
        return _fill(segmentation, height, width)
    if not isinstance(segmentation, dict) or segmentation.get("size") != [height, width]:
        raise MaskError(
            f"A segmentation is a list of polygons, or run lengths with counts and size [{height}, {width}],"
            f" not {str(segmentation)[:80]}."
        )
    counts = segmentation.get("counts")
    if isinstance(counts, list):
        return _expand(counts, height, width)
    return decode_coco({"size": [height, width], "counts": counts})  # type: ignore[typeddict-item]


def _fill(polygons: Sequence[Any], height: int, width: int) -> Mask:
    """The union of polygons [x1, y1, x2, y2, ...]. Checked: pycocotools reads on past what is too short."""
    rings = []
    for polygon in polygons:
        ring = np.asarray(polygon, dtype=np.float64)
        if ring.ndim != 1 or ring.size < 6 or ring.size % 2 or not (np.abs(ring) < 1e6).all():
            raise MaskError(f"A polygon is x and y of at least three corners, not {str(polygon)[:80]}.")
        rings.append(ring.tolist())
    runs = codec.merge(codec.frPyObjects(rings, height, width))
    return np.ascontiguousarray(codec.decode(runs), dtype=bool)


def _expand(counts: Sequence[Any], height: int, width: int) -> Mask:
    """Lengths of runs of 0 and 1 in turn, down the columns."""
    lengths = np.asarray(counts)
    if lengths.dtype.kind not in "iu" or (lengths < 0).any() or lengths.sum() != height * width:
        raise MaskError(
            f"The run lengths are damaged: {len(counts)} runs for an image of {width} x {height} pixels."
        )
    flat = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return np.ascontiguousarray(flat.reshape(width, height).T)


def _instance(
    entry: Mapping[str, Any], images: Mapping[Any, Mapping[str, Any]], categories: Mapping[Any, str]
) -> Instance:
    image = images[entry["image_id"]]
    file_name = str(image["file_name"])
    return Instance(
        str(_posix(file_name).with_suffix("")),
        file_name,
        int(entry["id"]),
        int(image["height"]),
        int(image["width"]),
        categories[entry["category_id"]],
        entry["segmentation"],
    )


def _posix(file_name: str) -> PurePosixPath:
    """Exports made on Windows have backslashes."""
    return PurePosixPath(file_name.replace("\\", "/").lstrip("/"))


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise DatasetError(f"{str(file)!r} cannot be read as JSON: {error}") from error
    missing = sorted(
        {"images", "annotations", "categories"} - set(content if isinstance(content, dict) else ())
    )
    if missing:
        raise DatasetError(f"{str(file)!r} is not in COCO's format: it lacks {', '.join(missing)}.")
    return content


def _nothing_left(file: Path, annotations: Sequence[Mapping[str, Any]]) -> str:
    crowds = sum(bool(entry.get("iscrowd")) for entry in annotations)
    empty = sum(not entry.get("segmentation") for entry in annotations)
    return (
        f"{str(file)!r} holds no mask of one object: of {len(annotations)} annotations {crowds} are marked"
        f" iscrowd, {empty} have no segmentation, the rest no pixel. CVAT marks brush masks as iscrowd: set"
        " it to 0 where they are single objects."
    )


def _annotation_file(root: Path) -> Path:
    if root.is_file():
        return root
    preferred = root / "annotations" / PREFERRED
    if preferred.is_file():
        return preferred
    files = [*sorted(root.glob("*.json")), *sorted((root / "annotations").glob("*.json"))]
    if len(files) != 1:
        names = ", ".join(path.relative_to(root).as_posix() for path in files[:8])
        raise DatasetError(
            f"{str(root)!r} must hold 'annotations/{PREFERRED}' and 'val2017', or exactly one *.json in"
            f" itself or in 'annotations', not {len(files)}{': ' + names if names else ''}. Else give the"
            f" path of the JSON file. {found(root)}"
        )
    return files[0]


def _image_folders(file: Path) -> list[Path]:
    base = file.parent.parent if file.parent.name == "annotations" else file.parent
    subset = file.stem.removeprefix("instances_")
    return [base, base / "images", base / subset, base / "images" / subset]


def _find_image(file_name: str, folders: Sequence[Path]) -> Path:
    path = _posix(file_name)
    for name in (path, path.name):
        for folder in folders:
            if (folder / name).is_file():
                return folder / name
    places = ", ".join(repr(str(folder)) for folder in folders)
    raise DatasetError(f"Image {file_name!r} is in none of {places}. Put the images into one of them.")


def _draw(file: Path, instances: Sequence[Instance], split: str) -> list[Instance]:
    by_category: dict[str, list[Instance]] = {}
    for instance in instances:
        by_category.setdefault(instance.category, []).append(instance)
    present = {"seen" if category in SEEN else "unseen" for category in by_category}
    if split not in present:
        raise unknown_split(file, split, present)
    drawn = {
        instance.number
        for category, members in by_category.items()
        if (category in SEEN) == (split == "seen")
        for instance in sorted(members, key=_rank)[:OBJECTS_PER_CATEGORY]
    }
    return [instance for instance in instances if instance.number in drawn]


def _rank(instance: Instance) -> str:
    return sha256(str(instance.number).encode()).hexdigest()
