import pytest

from ml_backend.controls import Controls, read_controls
from ml_backend.errors import RequestError
from ml_backend.protocol import Task

CONFIG = """<View>
  <Image name="other" value="$second"/><Image name="photo" value="$first"/>
  <Style>.x { color: red }</Style>
  <View><BrushLabels name="mask" toName="photo"><Label value="Cell"/></BrushLabels></View>
  <BrushLabels name="later" toName="other"/>
</View>"""


def test_read_controls__first_brush_and_its_image():
    assert read_controls(CONFIG) == Controls(brush="mask", image="photo", image_key="first")


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
    controls = Controls(brush="mask", image="photo", image_key="first")
    assert controls.image_address(Task(id=1, data={"first": "/data/upload/a.png"})) == "/data/upload/a.png"


@pytest.mark.parametrize(
    "data", [{}, {"first": None}, {"first": ["a.png"]}, {"first": ""}, {"second": "a.png"}]
)
def test_image_address__absent(data):
    controls = Controls(brush="mask", image="photo", image_key="first")
    with pytest.raises(RequestError, match=r"Task 7 has no image: data\.first"):
        controls.image_address(Task(id=7, data=data))
