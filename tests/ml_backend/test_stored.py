import json
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from maskloop.regions import region_value
from ml_backend.controls import Controls, read_controls
from ml_backend.prompts import Prompts, read_prompts
from ml_backend.protocol import Prompt, Task
from ml_backend.stored import Stored, Target

HEIGHT, WIDTH = 40, 50

CONFIG = """<View><Image name="image" value="$image"/>
  <BrushLabels name="brush" toName="image"><Label value="Cell"/><Label value="Debris"/></BrushLabels>
  <PolygonLabels name="polygon" toName="image"><Label value="Cell"/></PolygonLabels>
  <BitmaskLabels name="bitmask" toName="image"><Label value="Cell"/></BitmaskLabels>
  <RectangleLabels name="box" toName="image" smartOnly="true"><Label value="Cell"/></RectangleLabels>
  <RectangleLabels name="frame" toName="image"><Label value="Cell"/></RectangleLabels>
</View>"""


def controls() -> Controls:
    found = read_controls(CONFIG)
    assert found is not None
    return found


def square(top: int = 10, left: int = 10, side: int = 20) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def region(mask: np.ndarray | None = None, shape="brush", label="Cell", **fields: Any) -> dict[str, Any]:
    kind = f"{shape}labels"
    value = region_value(square() if mask is None else mask, shape) | {kind: [label]}
    result = {"id": "r1", "type": kind, "from_name": shape, "to_name": "image", "value": value}
    return result | {"original_height": HEIGHT, "original_width": WIDTH, "image_rotation": 0} | fields


def draft(*results: Any, at: str = "2026-11-22T07:00:00Z") -> dict[str, Any]:
    return {"id": 1, "result": list(results), "updated_at": at}


def task(drafts: Any = (), annotations: Any = (), predictions: Any = ()) -> Task:
    body = {"id": 1, "drafts": drafts, "annotations": annotations, "predictions": predictions}
    return msgspec.json.decode(json.dumps(body), type=Task)


def click(row: float = 20, col: float = 20, positive: bool = True, label: str = "Cell") -> Prompt:
    value = {"x": (col + 0.5) / WIDTH * 100, "y": (row + 0.5) / HEIGHT * 100, "keypointlabels": [label]}
    return msgspec.convert(
        {"type": "keypointlabels", "value": value, "is_positive": positive, "from_name": "include"}, Prompt
    )


def asked(*clicks: Prompt) -> Prompts:
    return read_prompts(clicks or [click()])


NEGATIVE = asked(click(positive=False))


def target(stored: Task, prompts: Prompts | None = None) -> Target | None:
    return Stored().target(stored, controls(), prompts or asked(), HEIGHT, WIDTH)


# Targets


@pytest.mark.parametrize("shape", ["brush", "polygon", "bitmask"])
def test_target__in_the_draft(shape):
    found = target(task(drafts=[draft(region(shape=shape))]))
    assert found is not None
    assert (found.id, found.output.name, found.output.shape) == ("r1", shape, shape)
    np.testing.assert_array_equal(found.runs.mask(), square())


@pytest.mark.parametrize("positive", [True, False])
def test_target__first_click_decides(positive):
    stored = task(drafts=[draft(region())])
    outside, inside = click(2, 2, positive), click(20, 20, positive)
    assert target(stored, asked(inside, outside)) is not None
    assert target(stored, asked(outside, inside)) is None


@pytest.mark.parametrize(("row", "col", "hit"), [(10, 10, 1), (9, 10, 0), (29, 29, 1), (29, 30, 0)])
def test_target__to_the_pixel(row, col, hit):
    assert (target(task(drafts=[draft(region())]), asked(click(row, col))) is not None) == bool(hit)


def test_target__another_label():
    assert target(task(drafts=[draft(region(label="Debris"))])) is None


def test_target__click_without_a_label():
    bare = replace(asked(), label=None)
    assert target(task(drafts=[draft(region(label="Debris"))]), bare) is not None


def test_target__the_topmost_of_several():
    below, above = region(id="below"), region(square(15, 15, 10), id="above")
    stored = task(drafts=[draft(below, above)])
    assert target(stored).id == "above"
    assert target(stored, asked(click(12, 12))).id == "below"


def test_target__image_of_another_size():
    assert target(task(drafts=[draft(region(original_width=WIDTH + 1))])) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"from_name": "gone"},
        {"type": "polygonlabels"},
        {"image_rotation": 90},
        {"value": None},
        {"value": {"format": "rle", "rle": [0, 1, 2], "brushlabels": ["Cell"]}},
        {"value": {"brushlabels": ["Cell"]}},
        {"value": {"rle": "text", "brushlabels": "Cell"}},
        {"id": 5},
        {"original_height": "tall"},
    ],
)
def test_target__broken_region_hides_no_other(fields):
    good = region(id="good")
    assert target(task(drafts=[draft(good, region() | fields)])).id == "good"
    assert target(task(drafts=[draft(region() | fields)])) is None


def test_target__truncated_run_lengths():
    short = region()
    short["value"]["rle"] = short["value"]["rle"][:9]
    assert target(task(drafts=[draft(short)])) is None


@pytest.mark.parametrize("drafts", [None, [3, 4], {"result": []}, [None], ["x"], [[]], [{"result": [[], 5]}]])
def test_target__drafts_that_are_none(drafts):
    assert target(task(drafts=drafts)) is None
    assert target(task(drafts=drafts, predictions=[draft(region())])) is not None


def test_target__bytes_that_are_no_text():
    content = json.dumps({"drafts": [draft(region(id="?"))]}).encode().replace(b"?", b"\xff")
    assert target(msgspec.json.decode(content, type=Task)) is None


def test_target__newest_draft():
    older, newer = draft(region(id="older")), draft(region(id="newer"), at="2026-11-22T07:00:01Z")
    for drafts in ([older, newer], [newer, older]):
        assert target(task(drafts=drafts)).id == "newer"
    gone = draft(region(square(0, 0, 5)), at="2026-11-22T07:00:02Z")
    assert target(task(drafts=[older, newer, gone])) is None


def test_target__submitted_by_whomever():
    stored = task(annotations=[draft(region())])
    assert target(stored) is None
    assert target(stored, asked(click(), click(positive=False))) is None
    assert target(stored, NEGATIVE) is not None


def test_target__predictions_where_nothing_is_drafted():
    stored = {"predictions": [draft(region(id="predicted"))]}
    assert target(task(**stored)).id == "predicted"
    assert target(task(**stored, drafts=[draft(region(square(0, 0, 5)))])) is None


def test_target__submitted_before_predicted():
    stored = task(annotations=[draft(region(id="a"))], predictions=[draft(region(id="p"))])
    assert (target(stored, NEGATIVE).id, target(stored).id) == ("a", "p")


def test_target__a_box_means_a_new_object():
    assert target(task(drafts=[draft(region())]), asked(click(), box_prompt())) is None


def test_target__pixels_are_read_once():
    stored, drafted = Stored(), task(drafts=[draft(region())])
    first, again = (stored.target(drafted, controls(), asked(), HEIGHT, WIDTH) for _ in range(2))
    assert first.runs is again.runs


def test_target__other_pixels_have_another_name():
    one, same, other = (
        target(task(drafts=[draft(region(mask))])).name for mask in (square(), square(), square(side=21))
    )
    assert one == same != other


# Boxes


def box(x: float = 10, y: float = 10, side: float = 50, label: str = "Cell", **fields: Any) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": side, "height": side, "rotation": 0, "rectanglelabels": [label]}
    found = {"id": "b1", "type": "rectanglelabels", "from_name": "box", "value": value}
    return found | {"original_height": HEIGHT, "original_width": WIDTH} | fields


def box_prompt() -> Prompt:
    return msgspec.convert(box(), Prompt)


def drafted(prompts: Prompts, *results: Any) -> Prompt | None:
    return Stored().box(task(drafts=[draft(*results)]), controls(), prompts)


def test_box__about_the_clicks():
    assert drafted(asked(), box()).value.width == 50


@pytest.mark.parametrize(
    "found",
    [
        box(label="Debris"),
        box(from_name="frame"),
        box(x=60),
        box(value={"x": "wide"}),
        box(value=None),
        box() | {"value": box()["value"] | {"rotation": 30}},
        region(),
    ],
    ids=["label", "a frame", "elsewhere", "no number", "no value", "turned", "a brush"],
)
def test_box__not(found):
    assert drafted(asked(), found) is None


def test_box__has_to_hold_all_positive_clicks():
    far = (38, 48)
    assert drafted(asked(click(), click(*far)), box()) is None
    assert drafted(asked(click(), click(*far, positive=False)), box()) is not None
    assert drafted(NEGATIVE, box()) is None


def test_box__the_newest():
    assert drafted(asked(), box(id="older"), box(side=60, id="newer")).id == "newer"


def test_box__one_that_was_asked_with_goes_first():
    assert drafted(asked(click(), box_prompt()), box()) is None


def test_box__only_of_drafts():
    stored = task(annotations=[draft(box())], predictions=[draft(box())])
    assert Stored().box(stored, controls(), asked()) is None
