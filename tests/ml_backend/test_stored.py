"""What a click may mean of what is stored already."""

import json

import msgspec
import numpy as np
import pytest

from maskloop.regions import region_value
from ml_backend.controls import read_controls
from ml_backend.prompts import read_prompts
from ml_backend.protocol import Prompt, Task
from ml_backend.stored import Stored, drafted_box

HEIGHT, WIDTH = 40, 60
CONTROLS = read_controls("""<View><Image name="image" value="$image"/>
  <BrushLabels name="brush" toName="image"><Label value="Cell"/><Label value="Debris"/></BrushLabels>
  <PolygonLabels name="ring" toName="image"><Label value="Cell"/></PolygonLabels>
  <BitmaskLabels name="bits" toName="image"><Label value="Cell"/></BitmaskLabels>
  <RectangleLabels name="box" toName="image" smart="true" smartOnly="true"><Label value="Cell"/></RectangleLabels>
  <RectangleLabels name="frame" toName="image"><Label value="Cell"/></RectangleLabels></View>""")  # noqa: E501
MASK = np.zeros((HEIGHT, WIDTH), bool)
MASK[10:30, 10:30] = True
INSIDE, OUTSIDE = (20, 20), (35, 50)


def region(name="brush", shape="brush", label="Cell", region_id="old", **fields):
    kind = f"{shape}labels"
    body = {
        "id": region_id,
        "type": kind,
        "from_name": name,
        "original_width": WIDTH,
        "original_height": HEIGHT,
    }
    return body | {"value": region_value(MASK, shape) | {kind: [label]}} | fields


def box(name="box", label="Cell", x=10, y=10, width=60, height=70):
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": 0, "rectanglelabels": [label]}
    return {"id": "b", "type": "rectanglelabels", "from_name": name, "value": value}


def task(drafts=(), annotations=(), predictions=()) -> Task:
    stored = {
        name: msgspec.Raw(json.dumps(holders).encode())
        for name, holders in (("drafts", drafts), ("annotations", annotations), ("predictions", predictions))
    }
    return Task(id=1, data={"image": "/a.png"}, **stored)


def draft(*results, at="2026-01-01T00:00:00Z"):
    return {"result": list(results), "updated_at": at}


def clicks(*places, positive=True, label="Cell"):
    prompts = [
        Prompt(
            type="keypointlabels",
            value=msgspec.convert(
                {"x": (col + 0.5) / WIDTH * 100, "y": (row + 0.5) / HEIGHT * 100, "keypointlabels": [label]},
                Prompt.__annotations__["value"],
            ),
            is_positive=positive,
        )
        for row, col in places
    ]
    return read_prompts(prompts)


def target(stored_task, prompts):
    return Stored().target(stored_task, CONTROLS, prompts, HEIGHT, WIDTH)


@pytest.mark.parametrize(("name", "shape"), [("brush", "brush"), ("ring", "polygon"), ("bits", "bitmask")])
def test_target__region_of_the_draft_under_the_first_click(name, shape):
    found = target(task([draft(region(name, shape))]), clicks(INSIDE, OUTSIDE))
    assert (found.id, found.output.name, found.output.shape) == ("old", name, shape)
    np.testing.assert_array_equal(found.runs.mask(), MASK)


@pytest.mark.parametrize(
    ("stored", "prompts"),
    [
        ([draft(region())], clicks(OUTSIDE, INSIDE)),
        ([draft(region())], clicks(INSIDE, label="Debris")),
        ([draft(region(original_width=WIDTH + 1))], clicks(INSIDE)),
        ([draft(region(name="gone"))], clicks(INSIDE)),
        ([draft(region(value={"rle": [1, 2], "brushlabels": ["Cell"]}))], clicks(INSIDE)),
        ([draft({"type": "choices", "value": {"choices": ["a"]}})], clicks(INSIDE)),
        ([draft(region(value=7))], clicks(INSIDE)),
        ([17], clicks(INSIDE)),
        ([], clicks(INSIDE)),
    ],
)
def test_target__nothing_is_meant(stored, prompts):
    assert target(task(stored), prompts) is None


def test_target__newest_draft_alone():
    older = draft(region(region_id="older"), at="2026-01-01T00:00:00Z")
    newer = draft(region(region_id="newer"), at="2026-01-02T00:00:00Z")
    assert target(task([newer, older]), clicks(INSIDE)).id == "newer"


def test_target__submitted_by_anybody_only_for_a_negative_click():
    stored = task(annotations=[draft(region(region_id="theirs"))])
    assert target(stored, clicks(INSIDE)) is None
    assert target(stored, clicks(INSIDE, positive=False)).id == "theirs"


def test_target__prediction():
    assert target(task(predictions=[draft(region(region_id="model"))]), clicks(INSIDE)).id == "model"


def test_target__topmost_of_two():
    assert target(task([draft(region(region_id="a"), region(region_id="b"))]), clicks(INSIDE)).id == "b"


def test_drafted_box__about_the_clicks():
    found = drafted_box(task([draft(box())]), CONTROLS, clicks(INSIDE))
    assert (found.value.x, found.value.height) == (10, 70)


@pytest.mark.parametrize(
    "drawn", [box(width=5), box(label="Debris"), box(name="frame"), box() | {"value": {"x": "wide"}}]
)
def test_drafted_box__not_meant(drawn):
    assert drafted_box(task([draft(drawn)]), CONTROLS, clicks(INSIDE)) is None
