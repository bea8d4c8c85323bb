"""Answers: a mask as the result that Label Studio draws."""

import secrets
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskloop.masks import encode_brush
from maskloop.predictor import Prediction
from ml_backend.controls import Controls

Answer = dict[str, Any]


@dataclass(frozen=True)
class Provenance:
    """What made a mask. It is stored with the annotation, where nothing else tells."""

    model: str
    sha256: str
    prompts: int
    milliseconds: int

    def as_meta(self) -> Answer:
        return {
            "model": self.model,
            "sha256": self.sha256,
            "prompts": self.prompts,
            "milliseconds": self.milliseconds,
        }


def brush_answer(
    prediction: Prediction, controls: Controls, label: str | None, provenance: Provenance
) -> Answer | None:
    """A prediction as one brush region, or None if its mask is empty: Label Studio cannot show that."""
    mask = prediction.mask
    if not mask.any():
        return None
    height, width = mask.shape
    score = round(float(prediction.probability[mask].mean(dtype=np.float64)), 4)
    region = {
        # Label Studio replaces the region whose id a suggestion repeats, so ids must not collide.
        "id": secrets.token_hex(8),
        "type": "brushlabels",
        "from_name": controls.brush,
        "to_name": controls.image,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "score": score,
        "readonly": False,
        "meta": provenance.as_meta(),
        "value": {
            "format": "rle",
            "rle": encode_brush(mask),
            "brushlabels": [] if label is None else [label],
        },
    }
    return {"model_version": provenance.model, "score": score, "result": [region]}
