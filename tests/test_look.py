"""Prompted cascades with random weights: an image is looked at once, and by the weights that are asked."""

from pathlib import Path

import numpy as np
import pytest
import torch

from maskloop.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from maskloop.clicks import Click
from maskloop.errors import CheckpointError
from maskloop.model import CSFPN, ModelConfig
from maskloop.model.prompted import PromptedViT
from maskloop.predictor import Predictor, Request

IMAGE = np.random.default_rng(0).integers(0, 255, (90, 130, 3), dtype=np.uint8)
CLICKS = [Click(20, 30), Click(70, 100, positive=False)]
CONFIG = ModelConfig(channels=12, hires_channels=8, long_side=64, cascade="prompted", overview_side=96)


def make(folder: Path, seed: int) -> Checkpoint:
    torch.manual_seed(seed)
    save_checkpoint(CSFPN(CONFIG), folder, f"prompted{seed}", {})
    return load_checkpoint(folder)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return make(tmp_path_factory.mktemp("prompted"), 0)


@pytest.fixture(scope="module")
def predictor(checkpoint: Checkpoint) -> Predictor:
    return Predictor(checkpoint, engine="torch")


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The sizes at which images were encoded."""
    sizes: list[tuple[int, ...]] = []
    encode = PromptedViT.encode

    def note(self: PromptedViT, image: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(image.shape))
        return encode(self, image)

    monkeypatch.setattr(PromptedViT, "encode", note)
    return sizes


def test_prepare__looks_once_for_all_clicks(predictor: Predictor, looks: list[tuple[int, ...]]) -> None:
    prepared = predictor.prepare(IMAGE)
    assert looks == [(1, 3, 64, 96)]
    answers = [predictor.predict(prepared, CLICKS[:count]) for count in (1, 2)]
    assert len(looks) == 1
    plain = predictor.predict(IMAGE, CLICKS)
    assert len(looks) == 2
    np.testing.assert_array_equal(plain.probability, answers[1].probability)
    assert not np.array_equal(answers[0].probability, answers[1].probability)
    assert prepared.nbytes > IMAGE.nbytes + prepared.overview.nbytes


def test_predict__what_other_weights_saw_is_looked_at_again(
    predictor: Predictor, tmp_path: Path, looks: list[tuple[int, ...]]
) -> None:
    other = Predictor(make(tmp_path, 1), engine="torch")
    theirs = other.prepare(IMAGE)
    looks.clear()
    answer = predictor.predict(theirs, CLICKS)
    assert len(looks) == 1
    np.testing.assert_array_equal(answer.probability, predictor.predict(IMAGE, CLICKS).probability)


def test_predict_batch__each_as_if_alone(predictor: Predictor) -> None:
    previous = np.random.default_rng(1).random((90, 130), np.float32)
    requests = [
        Request(IMAGE, CLICKS, previous),
        Request(np.ascontiguousarray(IMAGE[:, :60]), CLICKS[:1]),
        Request(predictor.prepare(IMAGE), CLICKS[:1]),
        Request(IMAGE, [], box=(10, 20, 70, 90)),
    ]
    for one, answer in zip(requests, predictor.predict_batch(requests), strict=True):
        alone = predictor.predict(one.image, one.clicks, one.previous, one.box)
        np.testing.assert_allclose(answer.probability, alone.probability, atol=1e-4)


def test_predict__a_box_is_given_by_its_corners(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    decode = PromptedViT.decode

    def note(
        self: PromptedViT, features: torch.Tensor, previous: torch.Tensor, clicks: torch.Tensor
    ) -> torch.Tensor:
        given.append((previous.any().item(), clicks[0].tolist()))
        return decode(self, features, previous, clicks)

    monkeypatch.setattr(PromptedViT, "decode", note)
    predictor = Predictor(checkpoint, engine="torch")
    image = np.zeros((64, 96, 3), np.uint8)  # shown as it is
    predictor.predict(image, [], box=(10, 20, 50, 70))
    assert given.pop() == (False, [[0, 0, 0], [10, 20, 2], [49, 69, 3]])
    predictor.predict(image, [Click(30, 40)], np.ones((64, 96), np.float32), box=(10, 20, 50, 70))
    assert given.pop() == (True, [[30, 40, 1], [10, 20, 2], [49, 69, 3]])
    predictor.predict(image, [Click(30, 40)])
    assert given.pop() == (False, [[30, 40, 1], [0, 0, 0], [0, 0, 0]])


def test_engines__same_masks(checkpoint: Checkpoint, predictor: Predictor) -> None:
    fast = Predictor(checkpoint, engine="onnxruntime")
    for image in (IMAGE, IMAGE.transpose(1, 0, 2).copy(), IMAGE[:, :90].copy()):
        for count in (1, 2):
            one = fast.predict(image, CLICKS[:count] if image.shape[1] > 100 else CLICKS[:1])
            other = predictor.predict(image, CLICKS[:count] if image.shape[1] > 100 else CLICKS[:1])
            np.testing.assert_allclose(one.probability, other.probability, atol=1e-4)


def test_checkpoint__round_trip(checkpoint: Checkpoint) -> None:
    torch.manual_seed(0)
    original = CSFPN(CONFIG).state_dict()
    loaded = checkpoint.model.state_dict()
    assert checkpoint.model.config == CONFIG
    for name, value in original.items():
        largest = float(value.abs().max()) if value.numel() else 0.0
        assert (loaded[name] - value).abs().max() <= max(1e-3, largest / 127), name


def test_describe__from_the_look(predictor: Predictor) -> None:
    one, other = predictor.describe([IMAGE, IMAGE[::-1].copy()])
    assert one.shape == (512,)
    assert not np.allclose(one, other)


def test_passes__begin_with_the_look(predictor: Predictor) -> None:
    assert predictor.passes == ("look", "full", "zoom")


def test_warm_up__looks_once(predictor: Predictor, looks: list[tuple[int, ...]]) -> None:
    predictor.warm_up()
    assert looks == [(1, 3, 96, 96)]


@pytest.mark.parametrize("protocol", ["ritm", "ritm_flip", "csfpn_published"])
def test_protocol__without_the_whole_image(checkpoint: Checkpoint, protocol: str) -> None:
    with pytest.raises(CheckpointError, match=f"{protocol!r} leaves out .* take single, csfpn, csfpn_flip"):
        Predictor(checkpoint, protocol=protocol, engine="torch")


def test_protocol__focus_looks_and_zooms_twice(checkpoint: Checkpoint) -> None:
    focus = Predictor(checkpoint, protocol="focus", engine="torch")
    assert focus.predict(IMAGE, CLICKS).probability.shape == IMAGE.shape[:2]
