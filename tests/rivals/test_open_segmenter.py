import pytest
import torch

from maskloop.checkpoint import save_checkpoint
from maskloop.errors import CheckpointError
from maskloop.model import CSFPN, ModelConfig
from maskloop.predictor import Predictor
from maskloop.rivals import GrabCut, MobileSam, open_segmenter


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    save_checkpoint(CSFPN(ModelConfig(channels=12, hires_channels=8)), tmp_path / "tiny", "tiny", {})
    return tmp_path / "tiny"


def test_open_segmenter__by_name():
    assert isinstance(open_segmenter("grabcut"), GrabCut)
    assert isinstance(open_segmenter("mobile_sam"), MobileSam)


def test_open_segmenter__folder_of_a_checkpoint(checkpoint):
    segmenter = open_segmenter(str(checkpoint))
    assert isinstance(segmenter, Predictor)
    assert segmenter.version.startswith("tiny-")


@pytest.mark.parametrize("text", ["mobile_sam:{}/mobile_sam.pt", "sam:{}/sam_vit_h_4b8939.pth"])
def test_open_segmenter__missing_weights(text, tmp_path):
    with pytest.raises(CheckpointError, match=rf"no file {tmp_path}.*it is to be a checkpoint of Segment"):
        open_segmenter(text.format(tmp_path))


def test_open_segmenter__refined(checkpoint):
    with pytest.raises(
        CheckpointError, match=r"no file nowhere/model; it is to be the weights of CascadePSP"
    ):
        open_segmenter(f"{checkpoint}+cascade_psp:nowhere/model")
    with pytest.raises(CheckpointError, match="unknown segmenter 'magic'"):
        open_segmenter("magic+cascade_psp:nowhere/model")


@pytest.mark.parametrize("text", ["magic", "sam", "sam2:weights.pt", "grabcut:3", ""])
def test_open_segmenter__unknown(text):
    with pytest.raises(
        CheckpointError, match=rf"unknown segmenter '{text}'.*grabcut, mobile_sam, mobile_sam:"
    ):
        open_segmenter(text)
