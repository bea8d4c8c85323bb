import numpy as np
import pytest

from maskloop.masks import decode_brush
from maskloop.runs import Runs
from ml_backend.answers import Provenance, mask_region, signed
from ml_backend.controls import Output

BRUSH = Output("mask", "brushlabels", "brush", frozenset({"Cell"}))
PROVENANCE = Provenance(
    model="maskloop-v3", sha256="abc", prompts=2, milliseconds=70, sketch="1:1:1:2:eJz7/x8AAwAB/w=="
)


def mask() -> np.ndarray:
    pixels = np.zeros((3, 4), bool)
    pixels[1, 1:3] = True
    return pixels


def test_signed():
    answer = signed([mask_region(Runs.of(mask()), 0.875, BRUSH, "photo", "Cell")], [PROVENANCE])
    (region,) = answer["result"]
    np.testing.assert_array_equal(decode_brush(region["value"].pop("rle"), 3, 4), mask())
    assert len(region.pop("id")) >= 10
    assert (answer["model_version"], answer["score"]) == ("maskloop-v3", 0.875)
    assert region == {
        "type": "brushlabels",
        "from_name": "mask",
        "to_name": "photo",
        "original_width": 4,
        "original_height": 3,
        "image_rotation": 0,
        "score": 0.875,
        "readonly": False,
        "meta": {
            "model": "maskloop-v3",
            "sha256": "abc",
            "prompts": 2,
            "milliseconds": 70,
            "refined": False,
            "sketch": "1:1:1:2:eJz7/x8AAwAB/w==",
        },
        "value": {"format": "rle", "brushlabels": ["Cell"]},
    }


def test_mask_region__ids_do_not_repeat():
    ids = {mask_region(Runs.of(mask()), 1, BRUSH, "photo", None)["id"] for _ in range(100)}
    assert len(ids) == 100


def test_mask_region__keeps_the_id_that_it_is_given():
    assert mask_region(Runs.of(mask()), 1, BRUSH, "photo", None, "af91d01df9")["id"] == "af91d01df9"


@pytest.mark.parametrize(
    ("kind", "shape", "labels"),
    [
        ("brushlabels", "brush", {"brushlabels": []}),
        ("polygonlabels", "polygon", {"polygonlabels": []}),
        ("bitmask", "bitmask", {}),
    ],
)
def test_mask_region__unlabelled(kind, shape, labels):
    region = mask_region(Runs.of(mask()), 1, Output("out", kind, shape, frozenset()), "photo", None)
    assert region["type"] == kind
    assert {key: value for key, value in region["value"].items() if key.endswith("labels")} == labels
