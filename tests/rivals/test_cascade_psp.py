"""CascadePSP's real network with weights under which its answer is known: the red pixels."""

import numpy as np
import pytest
import torch

from maskloop.clicks import Click
from maskloop.datasets import Sample
from maskloop.errors import CheckpointError
from maskloop.evaluation import evaluate
from maskloop.predictor import Prediction
from maskloop.rivals import CascadePsp
from maskloop.rivals.packages import import_alone

RED = np.zeros((32, 48), bool)
RED[8:24, 12:36] = True
IMAGE = np.where(RED[..., None], [255, 0, 0], [0, 0, 0]).astype(np.uint8)


class Rough:
    """Answers with the upper half of the image, and remembers what it was given."""

    version = "rough-1"

    def __init__(self):
        self.previous = []

    def predict(self, image, clicks, previous=None):
        self.previous.append(previous)
        probability = np.zeros(image.shape[:2], np.float32)
        probability[:16] = 1
        return Prediction(probability)


class Blind(Rough):
    def predict(self, image, clicks, previous=None):
        return Prediction(np.zeros(image.shape[:2], np.float32))


@pytest.fixture(scope="module")
def weights(save_constant):
    network = import_alone("segmentation_refinement.models.psp.pspnet", "segmentation-refinement")
    # of the last two layers alone something is left: the image's red channel, and a threshold on it
    red = torch.zeros(32, 35, 1, 1)
    red[0, 32] = 1
    threshold = torch.zeros(1, 32, 1, 1)
    threshold[0, 0] = 10
    layers = {"final_11.weight": red, "final_21.weight": threshold, "final_21.bias": torch.tensor([-5.0])}
    return save_constant(network.RefinementModule(), "model", prefix="module.", **layers)


def test_cascade_psp__refined_mask_is_what_the_next_click_corrects(weights):
    rough = Rough()
    refined = CascadePsp(rough, weights, long_side=48)
    wanted = RED.copy()
    wanted[8:24, 36:44] = True  # a third more than what is red
    report = evaluate(refined, [Sample("red", IMAGE, wanted, None, "square")], max_clicks=2, progress=False)
    assert report.objects[0].ious == (0.75, 0.75)
    first, second = rough.previous
    assert first is None
    np.testing.assert_array_equal(second > 0.5, RED)
    assert second.dtype == np.float32
    assert refined.version.startswith("rough-1+cascade_psp-")


def test_cascade_psp__nothing_to_refine(weights):
    assert not CascadePsp(Blind(), weights, long_side=48).predict(IMAGE, [Click(1, 1)]).mask.any()


def test_cascade_psp__missing_file_says_which(tmp_path):
    with pytest.raises(CheckpointError, match=r"no file .*model; .*release v1\.0 of github\.com/hkchengrex"):
        CascadePsp(Rough(), tmp_path / "model")


def test_cascade_psp__weights_of_another_network(tmp_path):
    torch.save({"module.weight": torch.ones(1)}, tmp_path / "model")
    with pytest.raises(CheckpointError, match="does not fit RefinementModule"):
        CascadePsp(Rough(), tmp_path / "model")
