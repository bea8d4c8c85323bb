"""Entry: one request for a mask, as one line of the journal.

    CRC-32 of the JSON, 8 hex digits | space | JSON in ASCII | newline

A line that was cut off or damaged does not fit its checksum. An entry holds no address, no name and no text
of a person but the label.
"""

import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Literal

import numpy as np

from maskloop.arrays import Mask
from maskloop.clicks import Click
from maskloop.errors import JournalError

Box = tuple[int, int, int, int]
Outcome = Literal["mask", "nothing", "superseded"]

MAX_LINE = 64 * 2**10
"""Bytes of the longest line; a hundred clicks take less than 4 KiB."""

_CHECKSUM = re.compile(rb"[0-9a-f]{8} ")
_IDENTIFIER = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


@dataclass(frozen=True)
class Entry:
    """One request for a mask and its answer.

    time: when it was answered, with a time zone.
    project, task: Label Studio's numbers; None where the request named none.
    region: id of the answered region; None without an answer.
    refined: the id is that of a region which was there before.
    shape: brush, polygon or bitmask.
    clicks: all of the session so far, in the order they were made, in pixels of the image.
    box: (top, left, bottom, right) in pixels.
    height, width: of the image; 0 where it was not loaded.
    image_sha256: of the image file's bytes; None where it was not loaded.
    mask_sha256: `mask_sha256` of the mask that the answered region describes.
    area: pixels of that mask.
    iou: IoU of the mask with the one of the click before; None at the first.
    model, weights_sha256: version and digest of what answered.
    milliseconds, predict_milliseconds: of the whole request, and of the network's part.
    """

    time: datetime
    project: int | None
    task: int | None
    region: str | None
    refined: bool
    label: str | None
    shape: str
    clicks: tuple[Click, ...]
    box: Box | None
    height: int
    width: int
    image_sha256: str | None
    mask_sha256: str | None
    area: int
    iou: float | None
    model: str
    weights_sha256: str
    milliseconds: float
    predict_milliseconds: float
    outcome: Outcome

    @property
    def prompts(self) -> int:
        """What the labeler has done for this answer: clicks, and one for a box."""
        return len(self.clicks) + (self.box is not None)


def encode_entry(entry: Entry) -> bytes:
    """An entry as its line. Clicks are rounded to 0.01 pixel, milliseconds to 0.1.

    The id of a refined region comes from the request, so one that is no plain identifier is left out.
    """
    values = {field.name: getattr(entry, field.name) for field in fields(entry)} | {
        "time": entry.time.astimezone(UTC).isoformat(),
        "region": entry.region if _is_identifier(entry.region) else None,
        # plain numbers, also where numpy's were given
        "clicks": [[_round(click.row), _round(click.col), int(click.positive)] for click in entry.clicks],
        "box": None if entry.box is None else [int(side) for side in entry.box],
        "area": int(entry.area),
        "iou": None if entry.iou is None else round(float(entry.iou), 4),
        "milliseconds": round(float(entry.milliseconds), 1),
        "predict_milliseconds": round(float(entry.predict_milliseconds), 1),
    }
    body = json.dumps(values, separators=(",", ":")).encode("ascii")
    return b"%08x %b\n" % (zlib.crc32(body), body)


def decode_entry(line: bytes) -> Entry:
    """Read one line, with or without its newline. Fields that a later version added are passed over.

    Raises:
        JournalError: the line is damaged or no entry.
    """
    body = line.rstrip(b"\n")
    if not _CHECKSUM.match(body) or int(body[:8], 16) != zlib.crc32(body[9:]):
        raise JournalError(f"a line of {len(body)} bytes does not fit its checksum")
    try:
        return _entry(json.loads(body[9:]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise JournalError(f"a line of {len(body)} bytes is no entry ({error!r})") from error


def mask_sha256(mask: Mask) -> str:
    """Digest of a mask's size and pixels, (H, W) bool; about 2 ms for 12 megapixels."""
    height, width = mask.shape
    digest = sha256(f"{height}x{width}\n".encode())
    digest.update(np.packbits(mask).data)
    return digest.hexdigest()


def _entry(values: dict[str, Any]) -> Entry:
    known = {field.name: values[field.name] for field in fields(Entry)}
    box = known["box"]
    return Entry(
        **known
        | {
            "time": datetime.fromisoformat(known["time"]),
            "clicks": tuple(_click(*click) for click in known["clicks"]),
            "box": None if box is None else _box(box),
        }
    )


def _click(row: float, col: float, positive: int) -> Click:
    return Click(float(row), float(col), bool(positive))


def _box(sides: Sequence[int]) -> Box:
    top, left, bottom, right = sides
    return top, left, bottom, right


def _is_identifier(region: str | None) -> bool:
    return region is not None and _IDENTIFIER.fullmatch(region) is not None


def _round(pixels: float) -> float:
    return round(float(pixels), 2)
