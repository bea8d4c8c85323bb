"""Engines: what computes a folded network at a click; the same logits to rounding, at different speed.

ONNX Runtime needs about two thirds of torch's time on a processor. It reads a graph, so the network is traced
when it is loaded. Where that does not work, or gives other logits, torch computes the network as it is.
"""

import logging
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from maskloop.errors import CheckpointError
from maskloop.model import CSFPN

logger = logging.getLogger(__name__)

TOLERANCE = 1e-3
"""Largest difference of logits between engines: rounding makes a hundredth of it."""
TRACED, CHECKED = (2, 64, 96, 2), (1, 160, 128, 3)
"""Batch, rows, columns and clicks that a network is traced with, and of the inputs that compare engines."""
INPUTS = ("image", "previous", "clicks")

_tracing = threading.Lock()
"""The exporter keeps its state in globals: one network at a time."""


class Engine(Protocol):
    """Image (B, 3, H, W), previous mask (B, 1, H, W) and clicks (B, N, 3) to mask logits (B, 1, H, W).

    Arguments are those of `CSFPN.forward`, with at least one slot for clicks. Any thread may call it.
    """

    name: str

    def __call__(self, image: Tensor, previous: Tensor, clicks: Tensor) -> Tensor: ...


class TorchEngine:
    """Torch itself, which is always there."""

    name = "torch"

    def __init__(self, network: CSFPN) -> None:
        self._network = network

    @torch.inference_mode()
    def __call__(self, image: Tensor, previous: Tensor, clicks: Tensor) -> Tensor:
        return self._network(image, previous, clicks).mask


class OnnxEngine:
    """ONNX Runtime, with as many threads as torch has when the network is loaded."""

    name = "onnxruntime"

    def __init__(self, network: CSFPN) -> None:
        """Trace a network.

        Raises:
            ImportError: onnx or onnxruntime is not installed.
            CheckpointError: the traced network gives other logits.
            Exception: whatever else the exporter or the runtime raises.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # threads that wait for work must not take the core from a retrain beside
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_mem_pattern = False  # one would be kept for each size and number of clicks
        options.log_severity_level = 4  # errors are raised
        with tempfile.TemporaryDirectory(prefix="maskloop-") as folder:
            file = Path(folder) / "network.onnx"
            _trace(network, file)
            self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        _compare(self, TorchEngine(network))

    def __call__(self, image: Tensor, previous: Tensor, clicks: Tensor) -> Tensor:
        arrays = (image.numpy(), previous.numpy(), clicks.numpy())
        return torch.from_numpy(self._session.run(None, dict(zip(INPUTS, arrays, strict=True)))[0])


ENGINES: dict[str, Callable[[CSFPN], Engine]] = {engine.name: engine for engine in (OnnxEngine, TorchEngine)}


def open_engine(network: CSFPN, name: str | None = None) -> Engine:
    """The engine of this name; without a name ONNX Runtime, and torch where that cannot run the network.

    Args:
        network: folded; it must not be changed afterwards.
        name: of `ENGINES`.

    Raises:
        CheckpointError: no such engine, or it cannot run the network.
    """
    if name is not None and name not in ENGINES:
        raise CheckpointError(f"unknown engine {name!r}; known are {', '.join(ENGINES)}")
    try:
        return ENGINES[name or OnnxEngine.name](network)
    except Exception as error:
        if name is not None:
            raise CheckpointError(
                f"{name} cannot run the network ({_first_line(error)}); leave engine out, or say 'torch'"
            ) from error
        reason = _first_line(error)
        logger.warning("ONNX Runtime cannot run the network (%s): torch does, which takes longer", reason)
        return TorchEngine(network)


def _trace(network: CSFPN, file: Path) -> None:
    """Write the network as an ONNX file for any batch, size and number of clicks."""
    sizes = {0: "batch", 2: "rows", 3: "columns"}
    with _tracing, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whether the graph is right is seen when logits are compared
        torch.onnx.export(
            _MaskOnly(network).eval(),  # or the network comes back in training mode
            _inputs(*TRACED),
            file,
            dynamo=False,  # the newer exporter takes forty times as long
            opset_version=18,
            input_names=list(INPUTS),
            output_names=["mask"],
            dynamic_axes={"image": sizes, "previous": sizes, "clicks": {0: "batch", 1: "slots"}},
        )


class _MaskOnly(nn.Module):
    """Without the logits that only training needs."""

    def __init__(self, network: CSFPN) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, previous: Tensor, clicks: Tensor) -> Tensor:
        return self.network(image, previous, clicks).mask


def _inputs(batch: int, height: int, width: int, slots: int) -> tuple[Tensor, Tensor, Tensor]:
    """Noise, and clicks on the diagonal of which every third slot is empty."""
    draw = torch.Generator().manual_seed(0)
    places = torch.linspace(0.2, 0.8, slots).expand(batch, -1)
    signs = torch.tensor([1.0, -1.0, 0.0]).repeat(slots)[:slots].expand(batch, -1)
    clicks = torch.stack([places * height, places * width, signs], dim=2)
    return (
        torch.rand(batch, 3, height, width, generator=draw),
        torch.rand(batch, 1, height, width, generator=draw),
        clicks,
    )


def _compare(engine: Engine, reference: Engine) -> None:
    """Raise CheckpointError when two engines differ on inputs of another size than was traced."""
    inputs = _inputs(*CHECKED)
    given, wanted = engine(*inputs), reference(*inputs)
    # written so that NaN is refused too
    if not (given.shape == wanted.shape and torch.allclose(given, wanted, TOLERANCE, TOLERANCE)):
        raise CheckpointError("its logits are not those of torch")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
