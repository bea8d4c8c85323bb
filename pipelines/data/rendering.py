"""Rendered composites: striped worms over clutter, among look-alikes without stripes.

A domain that no photo shows: a worm is one object although its stripes differ more from each other than from
what is around it. Only a seeded generator and drawing calls that are exact go in, so that the same pixels
come out on any machine.
"""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

SIZE = 192
LABEL = "worm"
_MIN_VISIBLE = 250  # pixels of an object that others must leave uncovered

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Composite:
    """One rendered image.

    image: (SIZE, SIZE, 3) uint8 RGB.
    masks: (SIZE, SIZE) bool each, the visible part of one object; they do not overlap.
    """

    image: Image
    masks: tuple[npt.NDArray[np.bool_], ...]


def render(seed: int) -> Composite:
    """The composite of this seed, with one to three objects."""
    random = np.random.default_rng(seed)
    image = _background(random)
    owner = np.zeros((SIZE, SIZE), dtype=np.uint8)
    colours = _stripe_colours(random)
    count = int(random.integers(1, 4))
    for number in range(1, count + 1):
        _draw_worm(random, image, colours[:1], owner, 0)  # a look-alike: one colour, no stripes
        _draw_worm(random, image, colours, owner, number)
    noise = random.integers(-10, 11, image.shape)
    image = np.clip(image.astype(np.int64) + noise, 0, 255).astype(np.uint8)
    masks = (owner == number for number in range(1, count + 1))
    return Composite(image, tuple(mask for mask in masks if mask.sum() >= _MIN_VISIBLE))


def encode(image: Image) -> bytes:
    """(H, W, 3) uint8 RGB as PNG."""
    _, data = cv2.imencode(".png", image[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 6])
    return data.tobytes()


def _background(random: np.random.Generator) -> Image:
    """Soft patches of colour, and clutter of lines and dots on them."""
    patches = random.integers(40, 216, (6, 6, 3), dtype=np.uint8)
    image = cv2.resize(patches, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR_EXACT)
    for _ in range(40):
        start, end = random.integers(0, SIZE, (2, 2)).tolist()
        colour = random.integers(0, 256, 3).tolist()
        cv2.line(image, start, end, colour, int(random.integers(1, 3)))
        cv2.circle(image, end, int(random.integers(2, 7)), colour[::-1], cv2.FILLED)
    return np.asarray(image, dtype=np.uint8)


def _stripe_colours(random: np.random.Generator) -> list[list[int]]:
    """Two colours far from each other: a dark and a light one."""
    return [random.integers(0, 90, 3).tolist(), random.integers(165, 256, 3).tolist()]


def _draw_worm(
    random: np.random.Generator, image: Image, colours: list[list[int]], owner: Image, number: int
) -> None:
    """Draw a curved band into `image`, and its number into `owner`, over what was there."""
    path = _path(random)
    thickness = int(random.integers(9, 17))
    for step, (start, end) in enumerate(pairwise(path)):
        colour = colours[step // 2 % len(colours)]
        cv2.line(image, start, end, colour, thickness)
        cv2.line(owner, start, end, number, thickness)


def _path(random: np.random.Generator) -> list[list[int]]:
    """Points a few pixels apart that wander through the image, [x, y] each."""
    point = random.integers(SIZE // 6, SIZE * 5 // 6, 2).astype(np.float64)
    heading, bend = random.random(2) * (2 * np.pi, 0.5) - (0, 0.25)
    path = [point.round().astype(int).tolist()]
    for turn in (random.random(int(random.integers(14, 30))) - 0.5) * 0.3:
        heading += bend * 0.5 + turn
        point = np.clip(point + 4 * np.array([np.cos(heading), np.sin(heading)]), 4, SIZE - 5)
        path.append(point.round().astype(int).tolist())
    return path
