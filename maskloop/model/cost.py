"""What a network costs: parameters, multiply-accumulates and milliseconds of a forward pass, by stage."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from maskloop.crops import network_size
from maskloop.model.csfpn import CSFPN, ModelConfig
from maskloop.model.prompted import PromptedViT

STAGES = ("stem", "click_embedding", "encoder", "decoder", "auxiliary", "sgn", "hires", "head")


@dataclass(frozen=True)
class StageCost:
    """One stage of the network; `milliseconds` is the median over the repeats."""

    name: str
    parameters: int
    macs: int
    milliseconds: float


@dataclass(frozen=True)
class Cost:
    """A forward pass of one image."""

    stages: tuple[StageCost, ...]
    height: int
    width: int
    clicks: int

    @property
    def parameters(self) -> int:
        """Parameters of the network."""
        return sum(stage.parameters for stage in self.stages)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and matrix products."""
        return sum(stage.macs for stage in self.stages)

    @property
    def milliseconds(self) -> float:
        """Sum over the stages."""
        return sum(stage.milliseconds for stage in self.stages)


def measure_cost(config: ModelConfig, height: int, width: int, clicks: int = 5, repeats: int = 5) -> Cost:
    """Build a network and measure it on a random image.

    Of a prompted cascade the stages `look` (once an image) and `prompt` (at every click) are measured, too,
    on an image of this shape whose longer side is the configuration's `overview_side`.

    Args:
        config: the network.
        height: rows of the image.
        width: columns of the image.
        clicks: number of nodes.
        repeats: forward passes that are timed, after one that is not; 0 leaves the times at zero.
    """
    model = CSFPN(config).eval()
    arguments = _arguments(height, width, clicks)
    macs = _count_macs(model, arguments)
    times = _time(model, arguments, repeats)
    stages = [
        StageCost(name, _parameters(model, name), macs[name], times[name])
        for name in STAGES
        if name == "stem" or getattr(model, name) is not None
    ]
    if model.prompted is not None:
        seen = network_size(height, width, config.overview_side)
        stages += _looks(model.prompted, *seen, clicks, repeats)
    return Cost(tuple(stages), height, width, clicks)


def _arguments(height: int, width: int, clicks: int) -> tuple[Tensor, Tensor, Tensor]:
    """A random image, no mask yet, and clicks anywhere on it."""
    spots = torch.rand(1, clicks, 2) * torch.tensor([height - 1.0, width - 1.0])
    points = torch.cat([spots, torch.ones(1, clicks, 1)], dim=2)
    return torch.rand(1, 3, height, width), torch.zeros(1, 1, height, width), points


def _looks(network: PromptedViT, height: int, width: int, clicks: int, repeats: int) -> list[StageCost]:
    """What a look at a whole image costs, and each answer to clicks on it."""
    image, previous, points = _arguments(height, width, clicks)
    with torch.inference_mode():
        features = network.encode(image)
    calls: dict[str, tuple[Callable[[], Tensor], tuple[nn.Module, ...]]] = {
        "look": (lambda: network.encode(image), (network.encoder, network.neck)),
        "prompt": (
            lambda: network.decode(features, previous, points),
            (network.prompt_encoder, network.mask_decoder),
        ),
    }
    stages = []
    for name, (call, modules) in calls.items():
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            call()
        parameters = sum(value.numel() for module in modules for value in module.parameters())
        stages.append(StageCost(name, parameters, counter.get_total_flops() // 2, _median(call, repeats)))
    return stages


def _median(call: Callable[[], object], repeats: int) -> float:
    """Milliseconds of a call; 0 where none is to be timed."""
    times = []
    with torch.inference_mode():
        for _ in range(repeats):
            started = time.perf_counter()
            call()
            times.append((time.perf_counter() - started) * 1e3)
    return float(torch.tensor(times).median()) if times else 0.0


def _parameters(model: CSFPN, stage: str) -> int:
    """Those of the stem are counted in the encoder, whose module it is a method of."""
    if stage == "stem":
        return 0
    return sum(parameter.numel() for parameter in getattr(model, stage).parameters())


def _count_macs(model: CSFPN, arguments: tuple[Tensor, ...]) -> dict[str, int]:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*arguments)
    # torch counts two operations for a multiply-accumulate
    counts = {name: sum(flops.values()) // 2 for name, flops in counter.get_flop_counts().items()}
    macs = {name: counts.get(f"{type(model).__name__}.{name}", 0) for name in STAGES}
    # what no module claims is the stem, which is called as a method
    macs["stem"] = counts["Global"] - sum(macs.values())
    return macs


def _time(model: CSFPN, arguments: tuple[Tensor, ...], repeats: int) -> dict[str, float]:
    clock = _Clock(model)
    runs = []
    with torch.inference_mode():
        for number in range(repeats + 1 if repeats else 0):
            run = clock.measure(arguments)
            runs += [run] if number else []
    clock.close()
    return {
        name: float(torch.tensor([run[name] for run in runs]).median()) if runs else 0.0 for name in STAGES
    }


class _Clock:
    """Times the stages of a forward pass by hooks."""

    def __init__(self, model: CSFPN) -> None:
        self._model = model
        self._started = 0.0
        self._times: dict[str, float] = {}
        self._handles: list[RemovableHandle] = []
        for name in STAGES[1:]:
            module = getattr(model, name)
            if module is not None:
                self._watch(name, module)

    def measure(self, arguments: tuple[Tensor, ...]) -> dict[str, float]:
        """Milliseconds of each stage; the stem's are those that no other stage claims."""
        self._times = dict.fromkeys(STAGES, 0.0)
        started = time.perf_counter()
        self._model(*arguments)
        total = (time.perf_counter() - started) * 1e3
        self._times["stem"] = total - sum(self._times.values())
        return self._times

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()

    def _watch(self, name: str, module: nn.Module) -> None:
        def before(*_: object) -> None:
            self._started = time.perf_counter()

        def after(*_: object) -> None:
            self._times[name] = (time.perf_counter() - self._started) * 1e3

        self._handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
