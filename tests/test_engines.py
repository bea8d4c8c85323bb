import logging
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from maskloop import engines
from maskloop.checkpoint import Checkpoint, load_checkpoint
from maskloop.clicks import Click
from maskloop.crops import network_sizes
from maskloop.engines import OnnxEngine, TorchEngine, open_engine
from maskloop.errors import CheckpointError
from maskloop.folding import fold
from maskloop.metrics import intersection_over_union
from maskloop.model import CSFPN, ModelConfig
from maskloop.predictor import Predictor, Request

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"
PROTOCOLS = {"small": ("csfpn", "ritm_flip"), "default": ("csfpn", "csfpn_flip")}
SIDE = 96
TINY = ModelConfig(channels=12, hires_channels=8, long_side=SIDE)
IMAGE = np.random.default_rng(0).integers(0, 255, (90, 130, 3), dtype=np.uint8)
LARGEST = 1e-4
"""Difference of logits that rounding may make; these are of the order of 1."""
Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def network(config: ModelConfig) -> CSFPN:
    """A network whose clicks count: gamma starts at zero."""
    torch.manual_seed(0)
    model = CSFPN(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("gamma", "signs.weight")):
                parameter.copy_(torch.randn_like(parameter))
    return fold(model)


def inputs(height: int, width: int, slots: int, batch: int = 1) -> Inputs:
    """Noise; clicks anywhere, also outside, of either sign, and empty slots."""
    clicks = torch.rand(batch, slots, 3) * torch.tensor([1.4 * height, 1.4 * width, 3])
    clicks[..., 2] = clicks[..., 2].floor() - 1
    return torch.rand(batch, 3, height, width), torch.rand(batch, 1, height, width), clicks


def assert_equal(folded: CSFPN, engine: OnnxEngine, given: Inputs) -> None:
    wanted = TorchEngine(folded)(*given)
    torch.testing.assert_close(engine(*given), wanted, atol=LARGEST, rtol=LARGEST)


@pytest.fixture(scope="module")
def folded() -> CSFPN:
    return network(TINY)


@pytest.fixture(scope="module")
def engine(folded: CSFPN) -> OnnxEngine:
    return OnnxEngine(folded)


@pytest.mark.parametrize("size", sorted(network_sizes(SIDE)))
@pytest.mark.parametrize("slots", [1, 2, 9])
def test_onnx_engine__every_size_and_number_of_clicks(
    folded: CSFPN, engine: OnnxEngine, size: tuple[int, int], slots: int
) -> None:
    assert_equal(folded, engine, inputs(*size, slots))
    assert_equal(folded, engine, inputs(*size, slots, batch=3))


def test_onnx_engine__no_click_that_counts(folded: CSFPN, engine: OnnxEngine) -> None:
    image, previous, _ = inputs(64, 96, 1)
    empty = torch.zeros(1, 4, 3)
    outside = torch.tensor([[[-3.0, 10, 1], [10, 200, -1]]])
    assert_equal(folded, engine, (image, previous, empty))
    assert_equal(folded, engine, (image, previous, outside))
    torch.testing.assert_close(engine(image, previous, empty), engine(image, previous, outside))


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(channels=12, sgn=False, hires="none", sign_embedding=False),
        ModelConfig(channels=12, hires="fuse", hires_channels=None),
        ModelConfig(channels=12, hires="fuse_sgn", sign_embedding=False, dense_projection=True),
        ModelConfig(encoder="tiny_vit_5m", channels=12, head="deeplab"),
        ModelConfig(encoder="hrnet18s", head="ocr"),
        ModelConfig(encoder="resnet34"),
    ],
    ids=lambda config: f"{config.encoder}-{config.hires}-{config.head}",
)
def test_onnx_engine__every_part(config: ModelConfig) -> None:
    folded = network(config)
    engine = OnnxEngine(folded)
    for size in ((32, 96), (224, 160)):
        assert_equal(folded, engine, inputs(*size, 3, batch=2))


def test_onnx_engine__two_callers_at_once(folded: CSFPN, engine: OnnxEngine) -> None:
    asked = [inputs(*size, slots) for size in ((32, 96), (96, 96)) for slots in (1, 2, 3, 4)] * 4
    alone = [engine(*given) for given in asked]
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(lambda given: engine(*given), asked))
    for one, other in zip(together, alone, strict=True):
        assert torch.equal(one, other)


def test_onnx_engine__made_in_two_threads_at_once(folded: CSFPN) -> None:
    with ThreadPoolExecutor(2) as threads:
        for made in threads.map(OnnxEngine, [folded, folded]):
            assert_equal(folded, made, inputs(64, 96, 2))


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An exporter that loses a part of the network."""
    trace = engines._trace

    def lossy(network: CSFPN, method: str, file: Path) -> None:
        other = fold(network)
        other.head.layers[1].bias.data += 0.1
        trace(other, method, file)

    monkeypatch.setattr(engines, "_trace", lossy)
    yield


@pytest.mark.usefixtures("broken")
def test_open_engine__other_logits_fall_back_to_torch(
    folded: CSFPN, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        engine = open_engine(folded)
    assert engine.name == "torch"
    assert "its logits are not those of torch" in caplog.text
    with pytest.raises(CheckpointError, match=r"onnxruntime cannot run the network .* leave engine out"):
        open_engine(folded, "onnxruntime")


def test_open_engine__not_installed_falls_back_to_torch(
    folded: CSFPN, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with caplog.at_level(logging.WARNING):
        assert open_engine(folded).name == "torch"
    assert "onnxruntime" in caplog.text


def test_open_engine__by_name(folded: CSFPN) -> None:
    assert open_engine(folded).name == open_engine(folded, "onnxruntime").name == "onnxruntime"
    assert open_engine(folded, "torch").name == "torch"
    with pytest.raises(CheckpointError, match="unknown engine 'tpu'; known are onnxruntime, torch"):
        open_engine(folded, "tpu")


@pytest.fixture(scope="module", params=PROTOCOLS)
def shipped(request: pytest.FixtureRequest) -> Checkpoint:
    return load_checkpoint(CHECKPOINTS / str(request.param))


def test_predictor__masks_of_what_is_shipped_are_equal(shipped: Checkpoint) -> None:
    rows, cols = np.ogrid[:240, :320]
    disc = (rows - 120) ** 2 + (cols - 150) ** 2 <= 60**2
    image = np.repeat(np.where(disc, 220, np.broadcast_to(cols // 2, disc.shape))[..., None], 3, 2)
    image = image.astype(np.uint8)
    clicks = [Click(120, 150), Click(30, 250, positive=False), Click(150, 130)]
    for protocol in PROTOCOLS[shipped.name]:
        fast = Predictor(shipped, protocol=protocol)
        plain = Predictor(shipped, protocol=protocol, engine="torch")
        assert (fast.engine, plain.engine) == ("onnxruntime", "torch")
        one = other = None
        for count in range(1, 4):
            one = fast.predict(image, clicks[:count], one)
            other = plain.predict(image, clicks[:count], other)
            assert intersection_over_union(one.mask, other.mask) > 0.999
            np.testing.assert_allclose(one.probability, other.probability, atol=1e-4)
        requests = [Request(image, clicks[:count]) for count in (1, 3)]
        for alone, batched in zip(requests, fast.predict_batch(requests), strict=True):
            single = plain.predict(alone.image, alone.clicks)
            np.testing.assert_allclose(batched.probability, single.probability, atol=1e-4)


def test_predictor__previous_mask_without_a_click(shipped: Checkpoint) -> None:
    previous = np.zeros((90, 130), np.float32)
    previous[20:60, 30:90] = 1
    fast, plain = Predictor(shipped), Predictor(shipped, engine="torch")
    one = fast.predict(IMAGE, [], previous).probability
    np.testing.assert_allclose(one, plain.predict(IMAGE, [], previous).probability, atol=1e-4)
    np.testing.assert_allclose(fast.describe([IMAGE])[0], plain.describe([IMAGE])[0], atol=1e-5)
