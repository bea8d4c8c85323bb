"""Domains that the shipped checkpoint has never seen: images to label, and others to measure on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from maskloop.arrays import Image, Mask
from maskloop.datasets.samples import Sample
from maskloop.images import decode_image
from maskloop.masks import decode_coco

SIZE = 256
THREADS = "threads"


@dataclass(frozen=True)
class Picture:
    """An encoded image and the outlines that its labeler knows, (H, W) bool each."""

    name: str
    data: bytes
    masks: tuple[Mask, ...]

    @property
    def file(self) -> str:
        """The name to upload it under; Label Studio goes by the ending."""
        return f"{self.name}.webp" if self.data.startswith(b"RIFF") else f"{self.name}.png"


@dataclass(frozen=True)
class Domain:
    """Pictures to label, and samples of other pictures to measure on."""

    name: str
    pictures: tuple[Picture, ...]
    held_out: tuple[Sample, ...]


def open_domain(name: str, objects: int, seed: int = 0) -> Domain:
    """The rendered domain `threads`, or a Parquet file with rows of the splits `label` and `test`.

    Args:
        name: `threads`, or the file's path.
        objects: labelled in each image, at most; a labeler of crowded images does not outline everything.
        seed: which ones.
    """
    pictures, test = _threads() if name == THREADS else _read(Path(name))
    random = np.random.default_rng(seed)
    chosen = tuple(_some(picture, objects, random) for picture in pictures)
    return Domain(Path(name).stem.split("-")[0], chosen, tuple(_samples(test)))


def spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """`count` samples at even distances, so that they come from as many images as there are."""
    places = np.linspace(0, len(samples), min(count, len(samples)), endpoint=False).astype(int)
    return [samples[place] for place in places]


def render_thread(seed: int) -> Picture:
    """Branching threads of 3 to 6 pixels on a grainy background, among fainter ones that are no objects."""
    random = np.random.default_rng(seed)
    grain = random.normal(0, 1, (SIZE, SIZE, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(random.normal(0, 1, (SIZE, SIZE, 3)).astype(np.float32), (0, 0), 24)
    image = 120 + random.uniform(-30, 30, 3) + 400 * smooth + 9 * grain
    for _ in range(random.integers(3, 7)):
        _stain(image, _thread(random, width=(1, 2)), random.uniform(-25, 25, 3))
    masks: list[Mask] = []
    taken = np.zeros((SIZE, SIZE), bool)
    for _ in range(random.integers(2, 5)):
        mask = _thread(random, width=(3, 6)) & ~taken
        if mask.sum() < 300:
            continue
        _stain(image, mask, random.choice([-1, 1]) * random.uniform(35, 70, 3))
        masks.append(mask)
        taken |= mask
    pixels = np.clip(cv2.GaussianBlur(image, (0, 0), 0.8), 0, 255).astype(np.uint8)
    data = cv2.imencode(".png", pixels)[1].tobytes()
    return Picture(f"thread-{seed:04d}", data, tuple(masks))


def _thread(random: np.random.Generator, width: tuple[int, int]) -> Mask:
    """A random walk with up to three branches."""
    canvas = np.zeros((SIZE, SIZE), np.uint8)
    starts = [(random.uniform(20, SIZE - 20, 2), random.uniform(0, 2 * np.pi))]
    thickness = int(random.integers(width[0], width[1] + 1))
    for branch in range(int(random.integers(1, 4))):
        place, heading = starts[int(random.integers(len(starts)))]
        for _ in range(int(random.integers(8, 18)) - 3 * branch):
            heading = heading + random.normal(0, 0.35)
            following = place + 9 * np.array([np.sin(heading), np.cos(heading)])
            ends = [tuple(round(float(value)) for value in point[::-1]) for point in (place, following)]
            cv2.line(canvas, ends[0], ends[1], 255, thickness, cv2.LINE_8)
            place = following
            starts.append((place, heading + random.choice([-0.9, 0.9])))
    return canvas > 0


def _stain(image: np.ndarray, mask: Mask, colour: np.ndarray) -> None:
    image[mask] += colour


def _threads() -> tuple[list[Picture], list[Picture]]:
    pictures = [picture for picture in map(render_thread, range(200)) if picture.masks]
    return pictures[:120], pictures[120:180]


def _read(path: Path) -> tuple[list[Picture], list[Picture]]:
    table = pd.read_parquet(path)
    parts = [table[table["split"] == split] for split in ("label", "test")]
    return _pictures(parts[0]), _pictures(parts[1])


def _pictures(table: pd.DataFrame) -> list[Picture]:
    return [
        Picture(row.image_id, row.image, tuple(_mask(item, row.height, row.width) for item in row.objects))
        for row in table.itertuples()
    ]


def _mask(item: dict[str, Any], height: int, width: int) -> Mask:
    return decode_coco({"size": [height, width], "counts": item["rle"]})


def _some(picture: Picture, objects: int, random: np.random.Generator) -> Picture:
    order = random.permutation(len(picture.masks))[:objects]
    return Picture(picture.name, picture.data, tuple(picture.masks[number] for number in order))


def _samples(pictures: Sequence[Picture]) -> list[Sample]:
    samples = []
    for picture in pictures:
        image: Image = decode_image(picture.data)
        for number, mask in enumerate(picture.masks):
            ignore = np.zeros_like(mask)
            samples.append(Sample(f"{picture.name}#{number}", image, mask, ignore, "object"))
    return samples
