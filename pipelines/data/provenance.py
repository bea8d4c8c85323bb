"""Provenance: what the service wrote into a region that it suggested, read from what a person saved.

It lies in the region's `meta`, where people may write, too: nothing there is taken for granted.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maskloop.errors import MaskError
from maskloop.runs import Runs
from maskloop.sketches import Sketch

MOST_PROMPTS = 10_000


@dataclass(frozen=True)
class Provenance:
    """Empty for a mask that was drawn by hand.

    model: version of the model that suggested the mask.
    prompts: clicks and boxes that the suggestion took.
    sketch: of the mask suggested, as text.
    """

    model: str = ""
    prompts: int = 0
    sketch: str = ""

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> "Provenance":
        """What a result of an annotation tells; a field of the wrong kind counts as absent."""
        meta = result.get("meta")
        if not isinstance(meta, Mapping):
            return cls()
        return cls(_text(meta.get("model")), _count(meta.get("prompts")), _text(meta.get("sketch")))

    def changed(self, kept: Runs) -> float:
        """By how much the mask kept differs from the one suggested, 1 - IoU; NaN where it is not known."""
        try:
            return Sketch.parse(self.sketch).difference(kept)
        except MaskError:
            return math.nan


def _count(value: object) -> int:
    return value if type(value) is int and 0 <= value <= MOST_PROMPTS else 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
