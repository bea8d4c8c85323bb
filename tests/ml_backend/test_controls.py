import pytest

from ml_backend.controls import Controls, Output, read_controls
from ml_backend.errors import RequestError
from ml_backend.protocol import Task

CONFIG = """<View>
  <Image name="other" value="$second"/><Image name="photo" value="$first"/>
  <Style>.x { color: red }</Style>
  <View><BrushLabels name="mask" toName="photo"><Label value="Cell"/></BrushLabels></View>
  <BrushLabels name="later" toName="other"/>
</View>"""


MASK = Output("mask", "brushlabels", "brush", frozenset({"Cell"}))


def test_read_controls__first_brush_and_its_image():
    assert read_controls(CONFIG) == Controls((MASK,), frozenset(), image="photo", image_key="first")


def test_read_controls__of_the_image_that_was_clicked_on():
    controls = read_controls(CONFIG, "other")
    assert (controls.image_key, [output.name for output in controls.outputs]) == ("second", ["later"])


SHAPES = """<View><Image name="image" value="$image"/>
  <PolygonLabels name="ring" toName="image"><Label value="Cell"/></PolygonLabels>
  <BitmaskLabels name="bits" toName="image"><Label value="Debris"/><Label value="Cell"/></BitmaskLabels>
  <Brush name="paint" toName="image"/>
  <BrushLabels name="ask" toName="image" smartOnly="true"><Label value="Tip"/></BrushLabels>
  <RectangleLabels name="box" toName="image" smartOnly="true"><Label value="Cell"/></RectangleLabels>
</View>"""


@pytest.mark.parametrize(
    ("label", "name", "shape"),
    [
        ("Cell", "ring", "polygon"),
        ("Debris", "bits", "bitmask"),
        ("Tip", "ring", "polygon"),
        (None, "ring", "polygon"),
    ],
)
def test_output__first_control_with_the_label(label, name, shape):
    output = read_controls(SHAPES).output(label)
    assert (output.name, output.shape) == (name, shape)


def test_read_controls__those_that_only_ask():
    controls = read_controls(SHAPES)
    assert [output.type for output in controls.outputs] == ["polygonlabels", "bitmasklabels", "brush"]
    assert controls.prompts == {"ask", "box"}


@pytest.mark.parametrize(
    "config",
    [
        '<View><Image name="image" value="$image"/></View>',
        '<View><BrushLabels name="brush" toName="image"/></View>',
        '<View><Image name="a" value="$a"/><BrushLabels name="brush" toName="b"/></View>',
    ],
)
def test_read_controls__nothing_to_paint_on(config):
    assert read_controls(config) is None


@pytest.mark.parametrize("config", ["", "<View>", "no xml", "\x00"])
def test_read_controls__no_xml(config):
    with pytest.raises(RequestError, match="no XML"):
        read_controls(config)


def test_read_controls__entities_are_refused():
    with pytest.raises(RequestError, match="DOCTYPE"):
        read_controls('<!DOCTYPE x [<!ENTITY a "aaaa">]><View>&a;</View>')


def test_image_address():
    controls = Controls((MASK,), frozenset(), image="photo", image_key="first")
    assert controls.image_address(Task(id=1, data={"first": "/data/upload/a.png"})) == "/data/upload/a.png"


@pytest.mark.parametrize(
    "data", [{}, {"first": None}, {"first": ["a.png"]}, {"first": ""}, {"second": "a.png"}]
)
def test_image_address__absent(data):
    controls = Controls((MASK,), frozenset(), image="photo", image_key="first")
    with pytest.raises(RequestError, match=r"Task 7 has no image: data\.first"):
        controls.image_address(Task(id=7, data=data))
