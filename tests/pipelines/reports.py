"""Result files made by hand: objects that are good after so many clicks."""

from collections.abc import Sequence

from maskloop.clicks import Click
from maskloop.results import MAX_CLICKS, ObjectResult, Report

FAILED = MAX_CLICKS + 1


def object_result(image: str, to_85: int, to_90: int, **fields: object) -> ObjectResult:
    """An object that reaches IoU 0.85 and 0.90 by these clicks; `FAILED` never does."""
    ious = tuple(
        0.92 if number >= to_90 else 0.87 if number >= to_85 else 0.5 for number in range(1, MAX_CLICKS + 1)
    )
    defaults = {"category": "worm", "area": 2000, "source": "labelled"}
    return ObjectResult(
        image_id=image,
        height=192,
        width=192,
        ious=ious,
        seconds=(0.1,) * MAX_CLICKS,
        clicks=(Click(1, 1),) * MAX_CLICKS,
        boundary_iou=0.5,
        masks={},
        **{**defaults, **fields},  # type: ignore[arg-type]
    )


def report(clicks: Sequence[int], model: str = "model", fields: Sequence[dict[str, object]] = ()) -> Report:
    """One object an image; IoU 0.85 is reached a click before 0.90."""
    objects = tuple(
        object_result(f"image{number}", max(1, to_90 - 1), to_90, **(fields[number] if fields else {}))
        for number, to_90 in enumerate(clicks)
    )
    return Report(model, "test", {"name": "centre"}, objects)
