"""The seed set: what there is to learn from before anybody has labelled anything.

The repository can rebuild it on any machine: the demo's sample photos with masks drawn for this project, and
composites that are rendered.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskloop.images import decode_image
from maskloop.masks import polygon_to_mask
from pipelines.data.rendering import LABEL, encode, render
from pipelines.data.samples import SamplePhoto, load_samples


@dataclass(frozen=True)
class SeedImage:
    """An encoded image and its objects, each a label and a mask, (H, W) bool."""

    name: str
    source: str  # sample or rendered
    data: bytes
    objects: tuple[tuple[str, npt.NDArray[np.bool_]], ...]


def seed_images(rendered: int) -> Iterator[SeedImage]:
    """All sample photos, then `rendered` composites."""
    yield from map(_photo, load_samples())
    composites = map(_composite, range(rendered))
    yield from (image for image in composites if image.objects)  # all may hide below what was drawn later


def _photo(photo: SamplePhoto) -> SeedImage:
    height, width = decode_image(photo.image_bytes).shape[:2]
    objects = tuple(
        (item.label, polygon_to_mask([np.asarray(ring) for ring in item.rings], height, width))
        for item in photo.objects
    )
    return SeedImage(photo.name, "sample", photo.image_bytes, objects)


def _composite(seed: int) -> SeedImage:
    composite = render(seed)
    objects = tuple((LABEL, mask) for mask in composite.masks)
    return SeedImage(f"{LABEL}-{seed:04d}", "rendered", encode(composite.image), objects)
