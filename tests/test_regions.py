import json

import numpy as np
import pytest

from maskloop.errors import MaskError
from maskloop.masks import encode_brush
from maskloop.regions import regions
from tests.pipelines.fake_project import WIRE


def result(kind, value, region_id="r1", **more):
    return {"id": region_id, "type": kind, "value": value, "original_width": 10, "original_height": 8, **more}


def test_regions__ghost_of_a_click_is_no_second_region():
    results = json.loads((WIRE / "export.json").read_text())[0]["annotations"][0]["result"]
    found = list(regions(results))
    assert [region.id for region in found] == ["af91d01df9", "106f40a1ba", "5ca3cb6a09"]
    assert {region.geometry for region in found} == {"brush"}
    assert [region.label for region in found] == ["Cell", "Debris", "Cell"]


def test_regions__ghost_before_its_mask():
    rle = encode_brush(np.eye(8, 10, dtype=bool))
    ghost = result("rectanglelabels", {"rle": rle, "x": 1, "width": 20, "rectanglelabels": ["Cell"]})
    mask = result("brushlabels", {"format": "rle", "rle": rle, "brushlabels": ["Cell"]})
    (region,) = regions([ghost, mask])
    assert region.geometry == "brush"
    assert (region.mask() == np.eye(8, 10, dtype=bool)).all()


def test_regions__box_that_asks_the_model_is_no_region():
    box = {"x": 10, "y": 10, "width": 30, "height": 20, "rotation": 0, "rectanglelabels": ["Cell"]}
    assert list(regions([result("rectanglelabels", box, from_name="box")], frozenset({"box"}))) == []


def test_regions__plain_brush_takes_its_label_from_its_neighbour():
    brush = result("brush", {"format": "rle", "rle": encode_brush(np.ones((8, 10), bool))})
    (region,) = regions([brush, result("labels", {"labels": ["Cell"]})])
    assert region.label == "Cell"


def test_mask__rectangle_covers_whole_pixels():
    (region,) = regions(
        [result("rectanglelabels", {"x": 10, "y": 25, "width": 30, "height": 50, "rotation": 0})]
    )
    expected = np.zeros((8, 10), bool)
    expected[2:6, 1:4] = True
    assert (region.mask() == expected).all()


def test_mask__polygon():
    points = [[10, 25], [40, 25], [40, 75], [10, 75]]
    (region,) = regions([result("polygonlabels", {"points": points, "polygonlabels": ["Cell"]})])
    assert region.mask()[2:6, 1:4].all()
    assert region.mask().sum() == 12


def test_mask__ellipse_is_centred():
    (region,) = regions(
        [result("ellipselabels", {"x": 50, "y": 50, "radiusX": 30, "radiusY": 25, "rotation": 0})]
    )
    mask = region.mask()
    assert (mask == mask[::-1, ::-1]).all()
    assert mask[3:5, 2:8].all()
    assert mask.sum() < 24


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("brushlabels", {"rle": [1, 2, 3]}),
        ("brushlabels", {"rle": "text"}),
        ("polygonlabels", {"points": [[1, 2]]}),
        ("polygonlabels", {"points": "text"}),
        ("rectanglelabels", {"width": None, "x": 1, "y": 2, "height": 3}),
    ],
)
def test_mask__damaged_value(kind, value):
    (region,) = regions([result(kind, value)])
    with pytest.raises(MaskError):
        region.mask()


def test_mask__image_rotated_in_the_editor():
    (region,) = regions(
        [result("rectanglelabels", {"x": 0, "y": 0, "width": 5, "height": 5}, image_rotation=90)]
    )
    with pytest.raises(MaskError, match="turn it back"):
        region.mask()
