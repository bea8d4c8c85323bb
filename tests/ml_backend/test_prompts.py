import json
import math
import re

import msgspec
import pytest

from maskloop.clicks import Click
from ml_backend.errors import RequestError
from ml_backend.prompts import read_prompts
from ml_backend.protocol import PredictRequest, Prompt, read_body


def captured(body) -> PredictRequest:
    return read_body(json.dumps(body).encode(), PredictRequest)


def keypoint(x: float, y: float, **fields) -> Prompt:
    body = {"type": "keypointlabels", "value": {"x": x, "y": y, "width": 0.2, "keypointlabels": ["Cell"]}}
    return msgspec.convert(body | fields, Prompt, strict=False)


def rectangle(x: float, y: float, width: float, height: float, rotation: float = 0.0) -> Prompt:
    value = {
        "x": x,
        "y": y,
        "width": width,
        "height": height,
        "rotation": rotation,
        "rectanglelabels": ["Cell"],
    }
    return msgspec.convert({"type": "rectanglelabels", "value": value}, Prompt)


def test_clicks__centre_of_a_pixel():
    # The centre of pixel 3 of 8 is 3.5 / 8 of the way.
    prompts = read_prompts([keypoint(x=3.5 / 8 * 100, y=0.5 / 4 * 100)])
    assert prompts.clicks(height=4, width=8) == [Click(row=0.0, col=3.0, positive=True)]


def test_clicks__on_the_border():
    prompts = read_prompts([keypoint(x=0, y=100), keypoint(x=100 + 1e-9, y=-1e-9)])
    assert prompts.clicks(height=4, width=8) == [Click(row=3.0, col=0.0), Click(row=0.0, col=7.0)]


def test_clicks__as_captured(wire):
    request = read_body(
        json.dumps(wire("predict_interactive_3_keypoints_one_negative")).encode(), PredictRequest
    )
    prompts = read_prompts(request.prompts)
    clicks = prompts.clicks(height=48, width=64)
    # The editor's percent is good to a small part of a pixel.
    assert [(round(click.row), round(click.col)) for click in clicks] == [(20, 21), (20, 28), (29, 44)]
    assert [click.positive for click in clicks] == [True, True, False]
    assert (prompts.label, prompts.rectangle) == ("Cell", None)


def test_clicks__exclude_control_is_negative(wire):
    request = read_body(
        json.dumps(wire("predict_interactive_include_exclude_controls")).encode(), PredictRequest
    )
    clicks = read_prompts(request.prompts).clicks(height=48, width=64)
    assert [click.positive for click in clicks] == [True, False]


@pytest.mark.parametrize(
    ("fields", "positive"),
    [
        ({}, True),
        ({"is_positive": True}, True),
        ({"is_positive": False}, False),
        ({"is_positive": None}, True),
        ({"value": {"x": 1, "y": 1, "positive": False}}, False),
        ({"value": {"x": 1, "y": 1, "positive": True}}, True),
        ({"is_positive": False, "value": {"x": 1, "y": 1, "positive": True}}, False),
        ({"from_name": "exclude", "is_positive": True}, False),
        ({"from_name": "Exclude", "is_positive": True}, False),
        ({"from_name": "include", "is_positive": False}, False),
    ],
)
def test_clicks__spellings_of_the_sign(fields, positive):
    prompts = read_prompts([keypoint(1, 1, **fields)])
    assert prompts.clicks(10, 10)[0].positive is positive
    assert prompts.has_target is positive


def test_label__of_the_first_prompt_that_has_one():
    unlabelled = keypoint(1, 1, type="keypoint", value={"x": 1, "y": 1})
    assert read_prompts([unlabelled]).label is None
    assert read_prompts([unlabelled, keypoint(1, 1)]).label == "Cell"
    assert read_prompts([keypoint(1, 1, value={"x": 1, "y": 1, "labels": ["Debris"]})]).label == "Debris"


def test_box__pixels_it_touches():
    prompts = read_prompts([rectangle(x=25, y=50, width=50, height=25)])
    assert prompts.box(height=8, width=8) == (4, 2, 6, 6)
    prompts = read_prompts([rectangle(x=26, y=51, width=50, height=25)])
    assert prompts.box(height=8, width=8) == (4, 2, 7, 7)


def test_box__as_captured(wire):
    prompts = read_prompts(captured(wire("predict_interactive_rectangle")).prompts)
    assert prompts.box(height=48, width=64) == (20, 36, 38, 54)
    assert (prompts.label, prompts.has_target, prompts.clicks(48, 64)) == ("Debris", True, [])


def test_box__reaching_over_the_border():
    assert read_prompts([rectangle(x=-50, y=50, width=100, height=100)]).box(8, 8) == (4, 0, 8, 4)


def test_box__turned():
    # Turned by 90 degrees clockwise about its top left corner, a wide box hangs down to the left of it.
    assert read_prompts([rectangle(x=50, y=25, width=50, height=25, rotation=90)]).box(8, 8) == (2, 2, 6, 4)


def test_box__newest_of_several():
    prompts = read_prompts([rectangle(0, 0, 50, 50), rectangle(50, 50, 50, 50)])
    assert prompts.box(8, 8) == (4, 4, 8, 8)


def test_box__beside_the_image():
    with pytest.raises(RequestError, match="x=120 %"):
        read_prompts([rectangle(x=120, y=0, width=10, height=10)]).box(8, 8)


@pytest.mark.parametrize(
    ("x", "y"), [(100.1, 50), (50, -0.1), (math.nan, 50), (50, math.inf), (1e308, 1e308)]
)
def test_read_prompts__click_outside(x, y):
    with pytest.raises(RequestError, match=re.escape(f"click at x={x:g} %, y={y:g} % lies outside")):
        read_prompts([keypoint(50, 50), keypoint(x, y)])


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e308])
def test_read_prompts__rectangle_that_is_none(value):
    with pytest.raises(RequestError, match="no shape"):
        read_prompts([rectangle(x=0, y=0, width=value, height=10)])


def test_read_prompts__turned_image():
    with pytest.raises(RequestError, match="turned by 90 degrees"):
        read_prompts([keypoint(50, 50, image_rotation=90)])


def test_read_prompts__other_shape():
    with pytest.raises(RequestError, match="'ellipselabels'"):
        read_prompts([keypoint(50, 50, type="ellipselabels")])


def test_prompts__labels_of_two_controls_are_selected():
    """The tool's own control comes first: the click is negative, and one."""
    place = {"x": 50.0, "y": 50.0, "width": 0.2, "keypointlabels": ["Cell"]}
    result = [
        {"id": id, "type": "keypointlabels", "from_name": name, "is_positive": True, "value": place}
        for id, name in [("a", "include"), ("b", "exclude"), ("b", "include")]
    ]
    request = captured({"tasks": [], "params": {"context": {"result": result}}})

    assert [prompt.from_name for prompt in request.prompts] == ["include", "exclude"]


def test_prompts__without_ids():
    place = {"x": 50.0, "y": 50.0, "width": 0.2, "keypointlabels": ["Cell"]}
    result = [{"type": "keypointlabels", "value": place}, {"type": "keypointlabels", "value": place}]

    assert len(captured({"tasks": [], "params": {"context": {"result": result}}}).prompts) == 2
