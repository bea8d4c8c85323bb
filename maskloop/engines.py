"""Engines: what computes a folded network at a click; the same logits to rounding, at different speed.

ONNX Runtime needs about two thirds of torch's time on a processor. It reads a graph, so the network is traced
when it is loaded. Where that does not work, or gives other logits, torch computes the network as it is.

An engine computes one method of a network: `forward`, or of a `PromptedViT` `encode` and `decode`.
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
from torch.nn import functional as F

from maskloop.errors import CheckpointError
from maskloop.model import Logits
from maskloop.model.prompted import CHANNELS, STRIDE

logger = logging.getLogger(__name__)

TOLERANCE = 1e-3
"""Largest difference of results between engines: rounding makes a hundredth of it."""
TRACED, CHECKED = (2, 64, 96, 2), (1, 160, 128, 3)
"""Batch, rows, columns and clicks that a network is traced with, and of the inputs that compare engines."""

Inputs = dict[str, Tensor]

_tracing = threading.Lock()
"""The exporter keeps its state in globals: one network at a time."""


class Engine(Protocol):
    """Arguments and result of the method that it computes; of logits those of the mask alone.

    There must be at least one slot for clicks. Any thread may call it.
    """

    name: str

    def __call__(self, *inputs: Tensor) -> Tensor: ...


class TorchEngine:
    """Torch itself, which is always there."""

    name = "torch"

    def __init__(self, network: nn.Module, method: str = "forward") -> None:
        self._part = _Part(network, method)

    @torch.inference_mode()
    def __call__(self, *inputs: Tensor) -> Tensor:
        return self._part(*inputs)


class OnnxEngine:
    """ONNX Runtime, with as many threads as torch has when the network is loaded."""

    name = "onnxruntime"

    def __init__(self, network: nn.Module, method: str = "forward") -> None:
        """Trace a network.

        Raises:
            ImportError: onnx or onnxruntime is not installed.
            CheckpointError: the traced network gives other results.
            Exception: whatever else the exporter or the runtime raises.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # threads that wait for work must not take the core from a retrain beside
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_mem_pattern = False  # one would be kept for each size and number of clicks
        options.log_severity_level = 4  # errors are raised
        self._names = tuple(EXAMPLES[method](*TRACED))
        with tempfile.TemporaryDirectory(prefix="maskloop-") as folder:
            file = Path(folder) / "network.onnx"
            _trace(network, method, file)
            self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        _compare(self, TorchEngine(network, method), method)

    def __call__(self, *inputs: Tensor) -> Tensor:
        arrays = {name: value.numpy() for name, value in zip(self._names, inputs, strict=True)}
        return torch.from_numpy(self._session.run(None, arrays)[0])


ENGINES: dict[str, Callable[[nn.Module, str], Engine]] = {
    engine.name: engine for engine in (OnnxEngine, TorchEngine)
}


def open_engine(network: nn.Module, name: str | None = None, method: str = "forward") -> Engine:
    """The engine of this name; without a name ONNX Runtime, and torch where that cannot run the network.

    Args:
        network: folded; it must not be changed afterwards.
        name: of `ENGINES`.
        method: of the network, one of `EXAMPLES`.

    Raises:
        CheckpointError: no such engine, or it cannot run the network.
    """
    if name is not None and name not in ENGINES:
        raise CheckpointError(f"unknown engine {name!r}; known are {', '.join(ENGINES)}")
    try:
        return ENGINES[name or OnnxEngine.name](network, method)
    except Exception as error:
        if name is not None:
            raise CheckpointError(
                f"{name} cannot run the network ({_first_line(error)}); leave engine out, or say 'torch'"
            ) from error
        reason = _first_line(error)
        logger.warning("ONNX Runtime cannot run the network (%s): torch does, which takes longer", reason)
        return TorchEngine(network, method)


class _Part(nn.Module):
    """A method of a network, without the logits that only training needs."""

    def __init__(self, network: nn.Module, method: str) -> None:
        super().__init__()
        self.network = network
        self.method = method

    def forward(self, *inputs: Tensor) -> Tensor:
        # the network itself is called, so that whoever watches it sees the call
        call = self.network if self.method == "forward" else getattr(self.network, self.method)
        result = call(*inputs)
        return result.mask if isinstance(result, Logits) else result


def _trace(network: nn.Module, method: str, file: Path) -> None:
    """Write a method of the network as an ONNX file for any batch, size and number of clicks."""
    examples = EXAMPLES[method](*TRACED)
    with _tracing, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whether the graph is right is seen when results are compared
        torch.onnx.export(
            _Part(network, method).eval(),  # or the network comes back in training mode
            tuple(examples.values()),
            file,
            dynamo=False,  # the newer exporter takes forty times as long
            opset_version=18,
            input_names=list(examples),
            output_names=["result"],
            dynamic_axes={name: _axes(name) for name in examples},
        )


def _axes(name: str) -> dict[int, str]:
    """The axes of an input that may have any size; those of features are not those of what they are of."""
    if name == "clicks":
        return {0: "batch", 1: "slots"}
    prefix = "feature " if name == "features" else ""
    return {0: "batch", 2: f"{prefix}rows", 3: f"{prefix}columns"}


def _clicked(batch: int, height: int, width: int, slots: int) -> Inputs:
    """Noise, and clicks on the diagonal of which every third slot is empty."""
    draw = torch.Generator().manual_seed(0)
    places = torch.linspace(0.2, 0.8, slots).expand(batch, -1)
    signs = torch.tensor([1.0, -1.0, 0.0]).repeat(slots)[:slots].expand(batch, -1)
    return {
        "image": torch.rand(batch, 3, height, width, generator=draw),
        "previous": torch.rand(batch, 1, height, width, generator=draw),
        "clicks": torch.stack([places * height, places * width, signs], dim=2),
    }


def _shown(batch: int, height: int, width: int, slots: int) -> Inputs:
    return {"image": _clicked(batch, height, width, slots)["image"]}


def _prompted(batch: int, height: int, width: int, slots: int) -> Inputs:
    clicked = _clicked(batch, height, width, slots)
    features = F.interpolate(clicked.pop("image"), scale_factor=1 / STRIDE).repeat(1, CHANNELS, 1, 1)
    return {"features": features[:, :CHANNELS] - 0.5, **clicked}


EXAMPLES: dict[str, Callable[[int, int, int, int], Inputs]] = {
    "forward": _clicked,
    "encode": _shown,
    "decode": _prompted,
}
"""Arguments of each method, by name, for a batch of so many rows, columns and clicks."""


def _compare(engine: Engine, reference: Engine, method: str) -> None:
    """Raise CheckpointError when two engines differ on inputs of another size than was traced."""
    inputs = EXAMPLES[method](*CHECKED).values()
    given, wanted = engine(*inputs), reference(*inputs)
    # written so that NaN is refused too
    if not (given.shape == wanted.shape and torch.allclose(given, wanted, TOLERANCE, TOLERANCE)):
        raise CheckpointError("its logits are not those of torch")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
