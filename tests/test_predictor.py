from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from maskloop.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from maskloop.clicks import Click
from maskloop.errors import CheckpointError, ClickError, ImageError, MaskError
from maskloop.model import CSFPN, ModelConfig
from maskloop.model.csfpn import MASK_THRESHOLD
from maskloop.predictor import Prediction, Predictor, Request
from maskloop.protocols import PROTOCOLS

IMAGE = np.random.default_rng(0).integers(0, 255, (90, 130, 3), dtype=np.uint8)
open_predictor = partial(Predictor, engine="torch")
"""Torch is ready at once, and its hooks tell what a network is shown; `test_engines.py` compares engines."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder: Path = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    save_checkpoint(CSFPN(ModelConfig(channels=12, hires_channels=8, long_side=96)), folder, "tiny", {})
    return load_checkpoint(folder)


@pytest.fixture(scope="module")
def predictor(checkpoint: Checkpoint) -> Predictor:
    return open_predictor(checkpoint)


Shown = list[tuple[int, ...]]


@pytest.fixture
def shown() -> Iterator[Callable[[], Shown]]:
    """The sizes of the images that networks were shown since it was last asked."""
    seen: Shown = []

    def note(module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        if isinstance(module, CSFPN):
            seen.append(tuple(arguments[0].shape))

    def take() -> Shown:
        taken = seen[:]
        seen.clear()
        return taken

    handle = register_module_forward_pre_hook(note)
    yield take
    handle.remove()


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


def test_predict__nothing_found_shares_no_array_with_the_arguments(predictor: Predictor) -> None:
    previous = np.zeros((90, 130), np.float32)
    prediction = predictor.predict(IMAGE, [Click(5, 5, positive=False)], previous)
    previous[:] = 1
    assert not prediction.probability.any()


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


@pytest.mark.parametrize(
    ("protocol", "clicks", "passes"),
    [
        ("single", 1, 1),
        ("csfpn", 1, 2),
        ("csfpn_flip", 1, 4),
        ("focus", 1, 2),
        ("focus", 2, 3),
        ("ritm", 2, 1),
        ("ritm_flip", 1, 2),
    ],
)
def test_protocol__passes(
    checkpoint: Checkpoint, shown: Callable[[], Shown], protocol: str, clicks: int, passes: int
) -> None:
    predictor = open_predictor(checkpoint, protocol=protocol)
    shown()
    previous = np.zeros((90, 130), np.float32)
    previous[20:50, 30:60] = 1
    predictor.predict(IMAGE, [Click(30, 40), Click(80, 120, positive=False)][:clicks], previous)
    assert len(shown()) == passes


def test_protocol__ritm_zooms_from_the_second_click_on(
    checkpoint: Checkpoint, shown: Callable[[], Shown]
) -> None:
    image = np.tile(IMAGE, (5, 4, 1))
    predictor = open_predictor(checkpoint, protocol="ritm")
    shown()
    predictor.predict(image, [Click(30, 40)])
    previous = np.zeros(image.shape[:2], np.float32)
    previous[100:150, 200:250] = 1
    after = predictor.predict(image, [Click(120, 220)], previous).probability
    assert shown() == [(1, 3, 96 - 96 % 32, 96), (1, 3, 96, 96)]
    # outside of its region RITM finds nothing
    assert not after[:20].any()


def test_protocol__flip_is_symmetric(checkpoint: Checkpoint) -> None:
    predictor = open_predictor(checkpoint, protocol="ritm_flip")
    one = predictor.predict(IMAGE, [Click(30, 40)]).probability
    other = predictor.predict(IMAGE[:, ::-1].copy(), [Click(30, 129 - 40)]).probability
    np.testing.assert_allclose(one, other[:, ::-1], atol=1e-4)


def test_protocol__native_shows_the_image_as_large_as_it_is(
    checkpoint: Checkpoint, shown: Callable[[], Shown]
) -> None:
    predictor = open_predictor(checkpoint, protocol="ritm_published")
    shown()
    predictor.predict(IMAGE, [Click(30, 40)])
    assert shown()[0] == (1, 3, 96, 128)


def test_protocol__unknown(checkpoint: Checkpoint) -> None:
    with pytest.raises(CheckpointError, match=r"unknown protocol 'sam'; known are single, csfpn"):
        open_predictor(checkpoint, protocol="sam")


def test_protocol__a_fine_network_makes_the_second_pass(checkpoint: Checkpoint) -> None:
    torch.manual_seed(1)
    other = CSFPN(checkpoint.model.config).eval()
    one = open_predictor(checkpoint).predict(IMAGE, [Click(30, 40)]).canvas
    two = open_predictor(replace(checkpoint, fine=other)).predict(IMAGE, [Click(30, 40)]).canvas
    assert one.patches[-1].crop == two.patches[-1].crop
    assert not np.allclose(one.patches[-1].values, two.patches[-1].values)


def test_protocol__without_a_cascade_one_pass(checkpoint: Checkpoint, shown: Callable[[], Shown]) -> None:
    single = CSFPN(replace(checkpoint.model.config, cascade="none"))
    predictor = open_predictor(replace(checkpoint, model=single))
    shown()
    predictor.predict(IMAGE, [Click(30, 40)])
    assert len(shown()) == 1


def test_prepare__same_answers(checkpoint: Checkpoint, shown: Callable[[], Shown]) -> None:
    predictor = open_predictor(checkpoint)
    prepared = predictor.prepare(IMAGE)
    assert prepared.image is IMAGE
    assert prepared.nbytes == IMAGE.nbytes + 3 * 64 * 96 * 4
    clicks = [Click(20, 30), Click(70, 100, positive=False)]
    # a predictor of another size, as after a change of the model, makes its own of the same pixels
    larger, mirrored = (
        open_predictor(checkpoint, long_side=128),
        open_predictor(checkpoint, protocol="ritm_flip"),
    )
    for other in (predictor, larger, mirrored):
        plain = other.predict(IMAGE, clicks).probability
        np.testing.assert_array_equal(other.predict(prepared, clicks).probability, plain)
        batch = other.predict_batch([Request(prepared, clicks)])[0]
        np.testing.assert_array_equal(batch.probability, plain)


def test_prepare__not_an_image(predictor: Predictor) -> None:
    with pytest.raises(ImageError, match=r"give \(H, W, 3\) uint8 RGB"):
        predictor.prepare(IMAGE[..., 0])


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
@pytest.mark.parametrize("box", [None, (10, 20, 60, 90)])
def test_predict__previous_as_prediction_or_plane(
    checkpoint: Checkpoint, protocol: str, box: tuple[float, float, float, float] | None
) -> None:
    image = np.tile(IMAGE, (3, 3, 1))
    predictor = open_predictor(checkpoint, protocol=protocol)
    previous = predictor.predict(image, [Click(100, 130)], box=box)
    clicks = [Click(100, 130), Click(80, 100, positive=False)]
    given = predictor.predict(image, clicks, previous, box).probability
    rendered = predictor.predict(image, clicks, previous.probability, box).probability
    np.testing.assert_allclose(given, rendered, atol=1e-4)


def test_predict__previous_prediction_of_another_size(predictor: Predictor) -> None:
    previous = predictor.predict(IMAGE[:50], [Click(1, 1)])
    with pytest.raises(MaskError, match="the previous mask is"):
        predictor.predict(IMAGE, [Click(1, 1)], previous)


def test_prediction__of_a_plane() -> None:
    plane = np.array([[0.2, 0.5], [0.9, 0.48]], np.float32)
    prediction = Prediction(plane)
    assert np.shares_memory(prediction.probability, plane)
    assert prediction.mask.tolist() == [[False, True], [True, False]]
    assert prediction.score == pytest.approx(0.7)
    assert prediction.nbytes == 16
    assert Prediction(plane / 10).score == 0


def test_prediction__holds_no_full_size_array(predictor: Predictor) -> None:
    image = np.tile(IMAGE, (20, 20, 1))
    prediction = predictor.predict(image, [Click(900, 1300)])
    assert prediction.nbytes < image[..., 0].nbytes / 20
    probability = prediction.probability
    np.testing.assert_array_equal(prediction.mask, probability > MASK_THRESHOLD)
    assert prediction.score == pytest.approx(float(probability[prediction.mask].mean(dtype=np.float64)))


def test_warm_up__every_size_that_can_occur(checkpoint: Checkpoint, shown: Callable[[], Shown]) -> None:
    predictor = open_predictor(checkpoint)
    shown()
    predictor.warm_up()
    assert shown() == [(1, 3, *size) for size in [(32, 96), (64, 96), (96, 32), (96, 64), (96, 96)]]
    predictor = open_predictor(checkpoint, protocol="ritm_published")
    shown()
    predictor.warm_up()
    assert {max(size[2:]) for size in shown()} == {384}  # of 400, as `network_size` rounds


def test_predict__from_several_threads(predictor: Predictor) -> None:
    """One predictor may answer in several threads, as when a worker still has the one that was replaced."""
    requests = [Request(IMAGE, [Click(10 * number, 20)]) for number in range(8)]
    alone = [predictor.predict_batch([request])[0].probability for request in requests]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda request: predictor.predict_batch([request])[0], requests))
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.probability, other, atol=1e-5)


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_predict_batch__equals_one_at_a_time(checkpoint: Checkpoint, protocol: str) -> None:
    predictor = open_predictor(checkpoint, protocol=protocol)
    previous = np.zeros((90, 130), np.float32)
    previous[20:60, 30:90] = 0.9
    requests = [
        Request(IMAGE, [Click(20, 30)]),
        Request(
            IMAGE[:, ::-1].copy(), [Click(20, 30), Click(80, 100, positive=False), Click(40, 40)], previous
        ),
        Request(IMAGE[:64].copy(), [Click(60, 9)]),
        Request(IMAGE, [Click(3, 3, positive=False)]),
        Request(IMAGE, [], box=(10, 20, 60, 90)),
    ]
    for request, together in zip(requests, predictor.predict_batch(requests), strict=True):
        alone = predictor.predict(request.image, request.clicks, request.previous, request.box)
        np.testing.assert_allclose(together.probability, alone.probability, atol=2e-5)


def test_describe__one_vector_an_image_whatever_its_size(predictor: Predictor) -> None:
    small, large = IMAGE, np.repeat(np.repeat(IMAGE, 2, axis=0), 2, axis=1)
    one, other, again = predictor.describe([small, large, small.copy()])
    assert one.shape == other.shape
    assert one.dtype == np.float32
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0


def test_describe__looks_count_and_not_the_order(predictor: Predictor) -> None:
    red, blue = np.zeros((2, 64, 64, 3), np.uint8)
    red[..., 0] = blue[..., 2] = 200
    shifted = red.copy()
    shifted[..., 0] += 5
    of_red, of_blue, of_shifted = predictor.describe([red, blue, shifted])
    assert np.linalg.norm(of_red - of_shifted) < np.linalg.norm(of_red - of_blue)
    with pytest.raises(ImageError):
        predictor.describe([red[..., 0]])
