from pathlib import Path

import numpy as np
import pytest
import torch

from maskloop.checkpoint import save_checkpoint
from maskloop.clicks import Click
from maskloop.errors import ClickError, ImageError, MaskError
from maskloop.model import CSFPN, ModelConfig
from maskloop.predictor import Predictor, Request

IMAGE = np.random.default_rng(0).integers(0, 255, (90, 130, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder: Path = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    save_checkpoint(CSFPN(ModelConfig(channels=12, hires_channels=8)), folder, "tiny", {})
    return Predictor.load(folder)


def test_predict__pure_function_of_its_arguments(predictor: Predictor) -> None:
    clicks = [Click(20, 30), Click(70, 100, positive=False)]
    image, previous = IMAGE.copy(), np.zeros((90, 130), np.float32)
    first = predictor.predict(image, clicks, previous).probability
    predictor.predict(IMAGE[::-1].copy(), [Click(1, 1)])
    second = predictor.predict(image, clicks, previous).probability
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(image, IMAGE)
    assert not previous.any()


def test_predict_batch__each_as_if_alone(predictor: Predictor) -> None:
    previous = np.random.default_rng(1).random((90, 130), np.float32)
    small = np.ascontiguousarray(IMAGE[:50, :60])
    requests = [
        Request(IMAGE, [Click(20, 30), Click(70, 100, positive=False)], previous),
        Request(small, [Click(10, 10)]),
        Request(IMAGE, [], box=(10, 20, 70, 90)),
    ]
    alone = [predictor.predict(one.image, one.clicks, one.previous, one.box) for one in requests]
    together = predictor.predict_batch(requests)
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.probability, other.probability, atol=1e-5)


def test_predict__order_of_clicks_does_not_matter(predictor: Predictor) -> None:
    clicks = [Click(20, 30), Click(70, 100, positive=False), Click(50, 20)]
    one = predictor.predict(IMAGE, clicks).probability
    np.testing.assert_allclose(one, predictor.predict(IMAGE, clicks[::-1]).probability, atol=1e-5)


def test_predict__shape_and_range(predictor: Predictor) -> None:
    prediction = predictor.predict(IMAGE, [Click(89.4, 0)])
    assert prediction.probability.shape == prediction.mask.shape == (90, 130)
    assert prediction.probability.dtype == np.float32
    assert 0 <= prediction.probability.min() <= prediction.probability.max() <= 1


def test_predict__only_negative_clicks_find_nothing(predictor: Predictor) -> None:
    assert not predictor.predict(IMAGE, [Click(5, 5, positive=False)]).probability.any()


def test_predict__box_bounds_the_mask(predictor: Predictor) -> None:
    probability = predictor.predict(IMAGE, [], box=(20, 30, 60, 110)).probability
    assert probability[18:62, 26:114].any()
    probability[18:62, 26:114] = 0
    assert not probability.any()


def test_predict__bad_arguments(predictor: Predictor) -> None:
    with pytest.raises(ClickError, match="outside the image"):
        predictor.predict(IMAGE, [Click(90, 5)])
    with pytest.raises(ImageError, match=r"give \(H, W, 3\) uint8 RGB"):
        predictor.predict(IMAGE[..., 0], [Click(1, 1)])
    with pytest.raises(MaskError, match="the previous mask is"):
        predictor.predict(IMAGE, [Click(1, 1)], previous=np.zeros((3, 3)))
    with pytest.raises(ClickError, match="covers no pixel"):
        predictor.predict(IMAGE, [], box=(10, 10, 10, 20))
