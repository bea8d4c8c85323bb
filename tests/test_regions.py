import json

import cv2
import numpy as np
import pytest

from maskloop.errors import MaskError
from maskloop.masks import encode_brush
from maskloop.regions import region_value, regions
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
        ("polygonlabels", {"points": -1}),
        ("polygonlabels", {"points": []}),
        ("polygonlabels", {"points": [[1, 2], [3, 4], [5, 10**400]]}),
        ("brushlabels", {"rle": [10**30]}),
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


# Masks as regions


def ring_and_speck() -> np.ndarray:
    """A disc with a hole, a piece in the hole, and a piece apart, on 90 x 120 pixels."""
    rows, cols = np.ogrid[:90, :120]
    distance = np.hypot(rows - 44, cols - 50)
    mask = (distance < 40) & (distance > 20) | (distance < 6)
    mask[5:15, 105:118] = True
    return mask


def stored(mask: np.ndarray, shape: str) -> np.ndarray:
    """What is collected of a mask that was answered in this shape, through JSON."""
    value = json.loads(json.dumps(region_value(mask, shape)))
    height, width = mask.shape
    found = {"id": "r1", "type": f"{shape}labels", "value": value}
    (region,) = regions([found | {"original_width": width, "original_height": height}])
    return region.mask()


@pytest.mark.parametrize("shape", ["brush", "bitmask"])
def test_region_value__every_pixel_comes_back(shape):
    noise = np.random.default_rng(0).random((37, 53)) > 0.5
    for mask in (noise, ring_and_speck(), np.ones((3, 4), bool)):
        np.testing.assert_array_equal(stored(mask, shape), mask)


def test_region_value__polygon_keeps_holes_and_pieces():
    mask = ring_and_speck()
    back = stored(mask, "polygon")
    assert not back[44, 63]  # in the hole
    assert back[44, 50]  # the piece in the hole
    assert back[10, 110]  # the piece apart
    assert (back & mask).sum() / (back | mask).sum() > 0.98


@pytest.mark.parametrize("seed", range(5))
def test_region_value__polygon_stays_within_its_tolerance(seed):
    noise = cv2.GaussianBlur(np.random.default_rng(seed).random((200, 300)), (0, 0), 8)
    mask = noise > np.median(noise)
    wrong = stored(mask, "polygon") ^ mask
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    # a pixel's centre lies half a pixel from its border; the mask fills the image, so 0.9 pixels are allowed
    assert np.maximum(outside, inside)[wrong].max() <= 0.003 * 300 + 0.5 + 0.2


def test_region_value__polygon_of_one_pixel():
    mask = np.zeros((5, 6), bool)
    mask[2, 3] = True
    np.testing.assert_array_equal(stored(mask, "polygon"), mask)


def test_region_value__empty():
    with pytest.raises(MaskError, match="empty mask"):
        region_value(np.zeros((4, 4), bool), "brush")


def test_mask__bitmask_of_another_size():
    value = region_value(np.ones((4, 4), bool), "bitmask")
    (region,) = regions([result("bitmasklabels", value)])
    with pytest.raises(MaskError, match="draw it again"):
        region.mask()


@pytest.mark.parametrize("url", ["data:image/png;base64,%%%", "data:image/png;base64,AAAA", "", 7])
def test_mask__bitmask_that_is_no_image(url):
    (region,) = regions([result("bitmasklabels", {"imageDataURL": url})])
    with pytest.raises(MaskError):
        region.mask()
