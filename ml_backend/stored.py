"""What is stored with a task: regions that a click may mean, and a box drawn before the clicks.

A request does not say who clicks. The newest draft is taken for the labeler's own, as the editor saves it
every few seconds; what other people have submitted is left alone, so that a second annotator works for
himself. Only a negative click that comes first can mean nothing but a mask that is there already.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Raw, Struct

from maskloop.clicks import Click
from maskloop.errors import MaskError
from maskloop.regions import regions
from maskloop.runs import Runs
from ml_backend.cache import ArrayCache
from ml_backend.controls import Controls, Output
from ml_backend.prompts import RECTANGLES, Prompts
from ml_backend.protocol import Prompt, Task

CACHE_BYTES = 64 * 2**20
DRAFT_BYTES = 32 * 2**20

_BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What reading stored JSON may raise: whoever stored it, it is no reason to refuse a click."""


class _Holder(Struct):
    """A draft, an annotation or a prediction."""

    result: list[Raw] | None = None
    updated_at: str | None = None


class _Region(Struct):
    id: str
    type: str
    value: Raw
    from_name: str = ""
    original_width: int = 0
    original_height: int = 0
    image_rotation: float | None = None
    name: str = ""
    """Digest of the value: tells one mask from others."""


class _Labels(Struct):
    labels: list[str] | None = None
    keypointlabels: list[str] | None = None
    rectanglelabels: list[str] | None = None
    brushlabels: list[str] | None = None
    polygonlabels: list[str] | None = None
    bitmasklabels: list[str] | None = None


@dataclass(frozen=True)
class _Draft:
    """The regions of a draft, which are parts of its bytes."""

    regions: list[_Region]
    nbytes: int


@dataclass(frozen=True)
class Target:
    """A region that the clicks correct. `name` tells its mask from others."""

    id: str
    output: Output
    runs: Runs
    name: str


class Stored:
    """Reads stored regions, and keeps their pixels as runs. It is used by one thread."""

    def __init__(self, cache_bytes: int = CACHE_BYTES, draft_bytes: int = DRAFT_BYTES) -> None:
        self._cache: ArrayCache[Runs] = ArrayCache(cache_bytes)
        # the clicks on an object find the same draft again and again
        self._drafts: ArrayCache[_Draft] = ArrayCache(draft_bytes)

    def target(
        self, task: Task, controls: Controls, prompts: Prompts, height: int, width: int
    ) -> Target | None:
        """The region that the first click lies in, or None where the clicks mean a new object."""
        clicks = prompts.clicks(height, width)
        if not clicks or prompts.rectangle is not None:
            return None
        outputs = {output.name: output for output in controls.outputs}
        for region in reversed(self._candidates(task, positive=clicks[0].positive)):
            output = outputs.get(region.from_name)
            if output is None or region.type != output.type:
                continue
            runs = self._runs(region, height, width)
            # where the pixel is known, the label is looked up last: it stands behind thousands of numbers
            if runs is not None and runs.contains(*_pixel(clicks[0])) and _has_label(region, prompts.label):
                return Target(region.id, output, runs, region.name)
        return None

    def box(self, task: Task, controls: Controls, prompts: Prompts) -> Prompt | None:
        """The newest box of the draft about all positive clicks, drawn for their label to ask the model."""
        points = [(point.value.x, point.value.y) for point in prompts.positive]
        if prompts.rectangle is not None or not points:
            return None
        for region in reversed(self._newest_draft(task)):
            if region.type not in RECTANGLES or region.from_name not in controls.prompts:
                continue
            box = _rectangle(region)
            if box is not None and _has_label(region, prompts.label) and _holds(box, points):
                return box
        return None

    def _candidates(self, task: Task, positive: bool) -> list[_Region]:
        """Regions that a first click of this sign may mean, the topmost last."""
        drafted = self._newest_draft(task)
        if drafted:
            return drafted
        submitted = [] if positive else _all_regions(task.annotations)
        return submitted or _all_regions(task.predictions)

    def _newest_draft(self, task: Task) -> list[_Region]:
        drafts = bytes(task.drafts)
        draft = self._drafts.get(drafts)
        if draft is None:
            found = _holders(drafts)
            newest = max(found, key=lambda one: one.updated_at or "", default=None)
            draft = _Draft(list(_regions(newest)) if newest else [], len(drafts))
            self._drafts.put(drafts, draft)
        return draft.regions

    def _runs(self, region: _Region, height: int, width: int) -> Runs | None:
        """Pixels of a region; None where it is no mask of this image."""
        if (region.original_height, region.original_width) != (height, width):
            return None
        key = (region.type, region.name, height, width)
        runs = self._cache.get(key)
        if runs is None:
            try:
                (found,) = regions([_plain(region)])
                runs = found.runs()
            except (MaskError, ValueError, *_BROKEN):
                return None
            self._cache.put(key, runs)
        return runs


def _all_regions(stored: Raw) -> list[_Region]:
    return [region for holder in _holders(stored) for region in _regions(holder)]


def _holders(stored: Raw | bytes) -> list[_Holder]:
    try:
        return msgspec.json.decode(stored, type=list[_Holder])
    except _BROKEN:  # numbers instead of records, in some editions: nothing to look at
        return []


def _regions(holder: _Holder) -> Iterator[_Region]:
    for result in holder.result or []:
        try:
            region = msgspec.json.decode(result, type=_Region)
        except _BROKEN:  # a choice or a rating, which is no region
            continue
        region.name = hashlib.sha256(region.value).hexdigest()
        yield region


def _plain(region: _Region) -> dict[str, Any]:
    return {
        "id": region.id,
        "type": region.type,
        "image_rotation": region.image_rotation,
        "original_height": region.original_height,
        "original_width": region.original_width,
        "value": msgspec.json.decode(region.value),
    }


def _has_label(region: _Region, label: str | None) -> bool:
    try:
        value = msgspec.json.decode(region.value, type=_Labels)
    except _BROKEN:
        return False
    labels = next((found for found in msgspec.structs.astuple(value) if found), None)
    return label is None or labels is None or label in labels


def _rectangle(region: _Region) -> Prompt | None:
    try:
        fields = {"type": region.type, "value": msgspec.json.decode(region.value), "id": region.id}
        return msgspec.convert(fields, Prompt, strict=False)
    except _BROKEN:
        return None


def _holds(box: Prompt, points: Sequence[tuple[float, float]]) -> bool:
    """Whether the points lie in a box that is not turned, both in percent."""
    value = box.value
    return not value.rotation and all(
        value.x <= x <= value.x + value.width and value.y <= y <= value.y + value.height for x, y in points
    )


def _pixel(click: Click) -> tuple[int, int]:
    return round(click.row), round(click.col)
