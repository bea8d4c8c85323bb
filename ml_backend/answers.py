"""Answers: a mask as the result that Label Studio draws."""

import secrets
from dataclasses import asdict, dataclass
from typing import Any

from maskloop.regions import region_value, regions
from maskloop.runs import Runs
from ml_backend.controls import Output

Answer = dict[str, Any]


@dataclass(frozen=True)
class Provenance:
    """What made a mask. It is stored with the annotation, where nothing else tells.

    sketch: of the mask, by which one sees later how much a person changed it.
    """

    model: str
    sha256: str
    prompts: int
    milliseconds: int
    refined: bool = False
    sketch: str = ""


def mask_region(
    runs: Runs, score: float, output: Output, image: str, label: str | None, region_id: str | None = None
) -> Answer:
    """A mask that is not empty as a region of a control, without its provenance.

    Args:
        runs: the mask.
        score: mean probability of its pixels.
        output: the control that takes it.
        image: name of the Image.
        label: of the prompts; Label Studio puts the selected one in its place.
        region_id: of the region that is replaced; None makes a new one.
    """
    labels = {output.type: [] if label is None else [label]} if output.type.endswith("labels") else {}
    return {
        # Label Studio replaces the region whose id a suggestion repeats, so new ids must not collide.
        "id": region_id or secrets.token_hex(8),
        "type": output.type,
        "from_name": output.name,
        "to_name": image,
        "original_width": runs.width,
        "original_height": runs.height,
        "image_rotation": 0,
        "score": round(score, 4),
        "readonly": False,
        "value": region_value(runs, output.shape) | labels,
    }


def stored_runs(region: Answer, runs: Runs) -> Runs:
    """The pixels that will be collected of a region; a polygon follows its mask only nearly."""
    if "points" not in region["value"]:
        return runs
    (found,) = regions([region])
    return found.runs()


def signed(regions: list[Answer], provenance: list[Provenance]) -> Answer:
    """Regions as one prediction; each carries its provenance as `meta`."""
    result = [region | {"meta": asdict(origin)} for region, origin in zip(regions, provenance, strict=True)]
    return {
        "model_version": provenance[0].model,
        "score": min(region["score"] for region in regions),
        "result": result,
    }
