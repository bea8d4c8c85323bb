"""Prompts: what the labeler clicked and drew, in percent of the image, to clicks and a box in pixels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from maskloop.clicks import Click
from ml_backend.errors import RequestError
from ml_backend.protocol import Prompt, Value
from ml_backend.settings import Settings

EXCLUDE = "exclude"
"""Clicks of a control of this name are negative, for desktops that keep Alt to themselves."""

CLICKS = {"keypoint", "keypointlabels"}
RECTANGLES = {"rectangle", "rectanglelabels"}

_NOISE = 1e-6
"""Percent or pixels by which the editor's arithmetic may miss an edge."""

_FAR = 1000.0
"""Percent, or degrees, beyond which nobody draws."""

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Prompts:
    """The checked prompts of one request."""

    points: tuple[Prompt, ...]
    rectangle: Prompt | None
    label: str | None

    @property
    def ids(self) -> frozenset[str]:
        """What the editor calls the prompts; empty where it gives one of them no name."""
        prompts = [*self.points, *([self.rectangle] if self.rectangle else [])]
        return frozenset(str(one.id) for one in prompts) if all(one.id for one in prompts) else frozenset()

    @property
    def positive(self) -> list[Prompt]:
        return [point for point in self.points if is_positive(point)]

    @property
    def has_target(self) -> bool:
        """Whether anything says where the object is; negative clicks alone say only where it is not."""
        return self.rectangle is not None or bool(self.positive)

    def clicks(self, height: int, width: int) -> list[Click]:
        """The clicks in pixels of an image, in the order they were made."""
        return [
            Click(
                row=_pixel(point.value.y, height),
                col=_pixel(point.value.x, width),
                positive=is_positive(point),
            )
            for point in self.points
        ]

    def box(self, height: int, width: int) -> Box | None:
        """The rectangle as (top, left, bottom, right) in pixels, bottom and right exclusive.

        Raises:
            RequestError: nothing of the rectangle lies on the image.
        """
        if self.rectangle is None:
            return None
        corners = _corners(self.rectangle.value, height, width)
        rows = [row for row, _ in corners]
        cols = [col for _, col in corners]
        top, bottom = max(math.floor(min(rows) + _NOISE), 0), min(math.ceil(max(rows) - _NOISE), height)
        left, right = max(math.floor(min(cols) + _NOISE), 0), min(math.ceil(max(cols) - _NOISE), width)
        if top >= bottom or left >= right:
            raise RequestError(
                f"The rectangle {_place(self.rectangle.value)} holds no pixel of the image: draw it inside."
            )
        return top, left, bottom, right


def read_prompts(prompts: Sequence[Prompt], max_clicks: int = Settings.max_clicks) -> Prompts:
    """Check the prompts of a request, all of one object. Of several rectangles the newest counts.

    Raises:
        RequestError: a click outside the image, a turned image, a shape that is no prompt, or too many.
    """
    if len(prompts) > max_clicks:
        raise RequestError(
            f"{len(prompts)} prompts for one mask, more than the {max_clicks} accepted: accept the mask and "
            "correct it anew, or raise MASKLOOP_MAX_CLICKS."
        )
    for prompt in prompts:
        _check(prompt)
    rectangles = [prompt for prompt in prompts if prompt.type in RECTANGLES]
    return Prompts(
        points=tuple(prompt for prompt in prompts if prompt.type in CLICKS),
        rectangle=rectangles[-1] if rectangles else None,
        label=next((label for label in map(_label, prompts) if label is not None), None),
    )


def by_label(prompts: Sequence[Prompt]) -> list[list[Prompt]]:
    """The prompts of each label, in the order of their first. The editor sends one label at a time.

    Prompts without a label belong to the first that has one.
    """
    default = next((label for label in map(_label, prompts) if label is not None), None)
    groups: dict[str | None, list[Prompt]] = {}
    for prompt in prompts:
        groups.setdefault(_label(prompt) or default, []).append(prompt)
    return list(groups.values())


def is_positive(prompt: Prompt) -> bool:
    """The sign of a click. Label Studio's editions spell it in two ways, and leave it out for positive."""
    if prompt.from_name.casefold() == EXCLUDE:
        return False
    if prompt.is_positive is not None:
        return prompt.is_positive
    return prompt.value.positive is not False


def _check(prompt: Prompt) -> None:
    if prompt.type not in CLICKS | RECTANGLES:
        raise RequestError(
            f"A prompt of type {prompt.type!r} cannot be used: set smart on keypoints and rectangles only."
        )
    if prompt.image_rotation:
        raise RequestError(
            f"The image is turned by {prompt.image_rotation:g} degrees in the editor: turn it back and click."
        )
    if prompt.type in CLICKS and not (_inside(prompt.value.x) and _inside(prompt.value.y)):
        raise RequestError(
            f"The click {_place(prompt.value)} lies outside the image: x and y are percent, from 0 to 100."
        )
    if prompt.type in RECTANGLES and not _is_drawable(prompt.value):
        raise RequestError(f"The rectangle {_place(prompt.value)} is no shape on an image: draw it again.")


def _is_drawable(value: Value) -> bool:
    """Whether a rectangle has figures that an editor can produce; infinite ones and no-numbers are not."""
    numbers = (value.x, value.y, value.width, value.height, value.rotation)
    return all(abs(number) <= _FAR for number in numbers)


def _inside(percent: float) -> bool:
    return -_NOISE <= percent <= 100 + _NOISE


def _pixel(percent: float, size: int) -> float:
    """Percent of a side to a pixel coordinate, where an integer is the centre of a pixel."""
    return min(max(percent / 100 * size - 0.5, 0.0), size - 1.0)


def _corners(value: Value, height: int, width: int) -> list[tuple[float, float]]:
    """The corners of a rectangle as (row, col); it is turned clockwise about its top left corner."""
    top, left = value.y / 100 * height, value.x / 100 * width
    down, across = value.height / 100 * height, value.width / 100 * width
    angle = math.radians(value.rotation)
    cosine, sine = math.cos(angle), math.sin(angle)
    return [
        (top + col * sine + row * cosine, left + col * cosine - row * sine)
        for row, col in ((0.0, 0.0), (0.0, across), (down, across), (down, 0.0))
    ]


def _label(prompt: Prompt) -> str | None:
    value = prompt.value
    for labels in (value.keypointlabels, value.rectanglelabels, value.labels):
        if labels:
            return labels[0]
    return None


def _place(value: Value) -> str:
    return f"at x={value.x:g} %, y={value.y:g} %"
