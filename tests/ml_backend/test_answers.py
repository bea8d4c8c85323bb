import numpy as np

from maskloop.masks import decode_brush
from maskloop.predictor import Prediction
from ml_backend.answers import Provenance, brush_answer
from ml_backend.controls import Controls

CONTROLS = Controls(brush="mask", image="photo", image_key="image")
PROVENANCE = Provenance(model="maskloop-v3", sha256="abc", prompts=2, milliseconds=70)


def prediction() -> Prediction:
    probability = np.zeros((3, 4), np.float32)
    probability[1, 1:3] = 0.75, 1.0
    probability[0, 0] = 0.25
    return Prediction(probability)


def test_brush_answer():
    answer = brush_answer(prediction(), CONTROLS, "Cell", PROVENANCE)
    (region,) = answer["result"]
    np.testing.assert_array_equal(decode_brush(region["value"].pop("rle"), 3, 4), prediction().mask)
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
        "meta": {"model": "maskloop-v3", "sha256": "abc", "prompts": 2, "milliseconds": 70},
        "value": {"format": "rle", "brushlabels": ["Cell"]},
    }


def test_brush_answer__ids_do_not_repeat():
    ids = {brush_answer(prediction(), CONTROLS, None, PROVENANCE)["result"][0]["id"] for _ in range(100)}
    assert len(ids) == 100


def test_brush_answer__unlabelled():
    answer = brush_answer(prediction(), CONTROLS, None, PROVENANCE)
    assert answer["result"][0]["value"]["brushlabels"] == []


def test_brush_answer__empty_mask():
    assert brush_answer(Prediction(np.zeros((3, 4), np.float32)), CONTROLS, "Cell", PROVENANCE) is None
