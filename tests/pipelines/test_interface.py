from xml.etree import ElementTree

import pytest

from ml_backend.controls import read_controls
from pipelines.errors import InterfaceError
from pipelines.label_studio.interface import (
    COLOURS,
    EXCLUDE_COLOUR,
    SHAPES,
    build_interface,
    read_interface,
    update_interface,
)

PERSONS = """<View>
  <!-- cells of the north wall -->
  <Image name="photo" value="$url"/>
  <BrushLabels name="tag" toName="photo"><Label value="Cell" background="#123456" hotkey="1"/></BrushLabels>
  <Choices name="quality" toName="photo"><Choice value="good"/></Choices>
</View>"""


@pytest.mark.parametrize("shape", SHAPES)
def test_build__every_control_offers_every_label(shape):
    labels = ("Cell", 'A <b> & "c"')
    interface = read_interface(build_interface(labels, shape))
    assert interface.shape == shape
    assert interface.labels == labels
    assert (interface.image, interface.image_key) == ("image", "image")
    for control in (interface.include, interface.exclude, interface.box):
        assert control.labels == labels
        assert control.smart
    assert not interface.outputs[0].smart


def test_build__hotkeys_are_digits_and_each_is_used_once():
    root = ElementTree.fromstring(build_interface(["a", "b", "c"]))
    keys = [one.get("hotkey") for one in root.iter("Label") if one.get("hotkey")]
    assert keys == list("1234567890")


def test_build__colours_tell_labels_apart_and_what_is_excluded():
    root = ElementTree.fromstring(build_interface(["a", "b"]))
    colours = {one.get("name"): [label.get("background") for label in one] for one in root.iter() if len(one)}
    assert colours["include"] == colours["box"] == colours["brush"] == list(COLOURS[:2])
    assert colours["exclude"] == [EXCLUDE_COLOUR] * 2


def test_build__is_what_the_backend_reads():
    assert read_controls(build_interface(["Cell"])).image_key == "image"


def test_update__keeps_what_a_person_wrote():
    update = update_interface(PERSONS)
    assert update.changes == (
        "added the control include",
        "added the control exclude",
        "added the control box",
        'set smart="false" on tag, whose smart button does nothing',
    )
    for kept in ("cells of the north wall", 'name="quality"', 'value="$url"', 'background="#123456"'):
        assert kept in update.config
    interface = read_interface(update.config)
    assert [one.name for one in interface.outputs] == ["tag"]
    assert interface.exclude.labels == ("Cell",)
    root = ElementTree.fromstring(update.config)
    assert root.find(".//*[@name='include']/Label").attrib == {
        "value": "Cell",
        "background": "#123456",
        "hotkey": "2",
    }


def test_update__second_time_changes_nothing():
    once = update_interface(PERSONS, ["Cell", "Wall"])
    twice = update_interface(once.config, ["Wall"])
    assert twice.changes == ()
    assert twice.config is once.config


def test_update__labels_of_one_control_come_to_all():
    config = build_interface(["Cell"]).replace(
        '<KeyPointLabels name="include"', '<!-- x --><KeyPointLabels name="include"'
    )
    update = update_interface(config, ["Wall"])
    assert update.changes == tuple(
        f"added the label Wall to {name}" for name in ("include", "exclude", "box", "brush")
    )
    assert read_interface(update.config).labels == ("Cell", "Wall")


def test_update__controls_of_our_names_become_smart():
    config = build_interface(["Cell"]).replace(' smart="true" smartOnly="true"', "")
    update = update_interface(config)
    assert update.changes == tuple(f"made the control {name} smart" for name in ("include", "exclude", "box"))


def test_update__keypoints_that_a_person_sets_stay_theirs():
    points = '<KeyPointLabels name="eyes" toName="photo"><Label value="Eye"/></KeyPointLabels>'
    update = update_interface(PERSONS.replace("</View>", points + "</View>"))
    interface = read_interface(update.config)
    assert interface.include.name == "include"
    assert interface.labels == ("Cell",)
    assert 'name="eyes" toName="photo">' in update.config


def test_update__another_shape_comes_beside():
    interface = read_interface(update_interface(PERSONS, shape="polygon").config)
    assert [one.tag for one in interface.outputs] == ["BrushLabels", "PolygonLabels"]


def test_update__empty_configuration_is_built():
    assert update_interface("<View></View>", ["Cell"]).config == build_interface(["Cell"])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('<View><Text name="t" value="$t"/></View>', "shows no image: add <Image"),
        ('<View><Video name="v" value="$v"/></View>', "labels videos"),
        ("<View>", "is no XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><View/>', "remove its DOCTYPE"),
        ('<View><Image name="image" value="$image"/></View>', "names no label: give some with --labels"),
        ('<View><Image name="a" value="$a"/><Image name="b" value="$b"/></View>', "shows 2 images"),
        (
            PERSONS.replace('"quality"', '"exclude"'),
            "The name 'exclude' belongs to a Choices and is needed for a KeyPointLabels",
        ),
    ],
)
def test_update__what_cannot_be(config, message):
    with pytest.raises(InterfaceError, match=message):
        update_interface(config)


def test_update__unknown_shape():
    with pytest.raises(InterfaceError, match="'cube': choose one of brush, polygon, bitmask"):
        update_interface(PERSONS, shape="cube")
