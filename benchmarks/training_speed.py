"""Samples a second in training, where the time goes, and what share of the processor's peak is used.

    python -m benchmarks.training_speed DATA [--start CHECKPOINT] [--config RECIPE] [--steps 20] [--threads 1]
        [--hold]

The same batches are learnt from in both precisions, by the network as it is and as it was before its changes:
the gradient of depthwise weights (`maskloop.model.layers.Conv2d`), and messages in the memory format of the
maps. All in turns in one process. On one thread of a processor the time is that thread's own, so that waiting
for other work on the machine does not count; else it is the clock's.

Operations are those of convolutions and matrix products, a gradient counted as twice its forward pass; the
peak is a matrix product of the same precision, measured in the same process.
"""

import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from maskloop.checkpoint import load_checkpoint
from maskloop.corpus import Corpus
from maskloop.model import CSFPN, propagation
from maskloop.model.layers import Conv2d
from maskloop.recipes import read_recipe
from maskloop.resident import Resident
from maskloop.training import Run, TrainingConfig, draw_batch
from maskloop.training.batches import Scenes
from maskloop.training.clock import Clock

PARTS = ("draw", "augment", "clicks", "gradient", "optimiser", "average")
SIDE = {"cpu": 1024, "cuda": 8192}
"""Rows and columns of the matrices that tell the peak."""


@dataclass
class Way:
    """One way to make the steps, and what they took."""

    name: str
    run: Run
    before: bool
    operations: float
    """Of one prediction of a batch."""
    predictions: int = 0

    def advance(self, batch: Any) -> None:
        with as_before() if self.before else ExitStack():
            self.run.advance(batch)

    def start_anew(self, now: Callable[[], float]) -> None:
        self.run.clock = Clock(self.run.device, now)
        self.predictions = 0


@contextmanager
def as_before() -> Iterator[None]:
    """The network as it was before the changes."""
    with ExitStack() as stack:
        for owner, name, old in [
            (Conv2d, "forward", nn.Conv2d.forward),
            (propagation, "sparse_propagate", copied_messages),
            (propagation.SGN, "forward", stacked_messages),
        ]:
            stack.enter_context(mock.patch.object(owner, name, old))
        yield


def copied_messages(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    clicks: Tensor,
    stride: int,
    project_key: nn.Module,
    project_value: nn.Module,
    signs: nn.Embedding | None,
) -> Tensor:
    """As `sparse_propagate`, with the pixels of a channel side by side, which no map of the network has."""
    height, width = queries.shape[-2:]
    cells, valid = propagation.clicked_cells(clicks, height, width, stride)
    index = cells[:, None]
    nodes = [
        one.flatten(2).gather(2, index.expand(-1, one.shape[1], -1)).transpose(1, 2) for one in (keys, values)
    ]
    key_nodes = project_key(nodes[0] if signs is None else nodes[0] + signs((clicks[..., 2] < 0).long()))
    affinity = torch.einsum("bnd,bdp->bnp", key_nodes, queries.flatten(2)) / queries.shape[1] ** 0.5
    affinity = affinity.masked_fill(~valid[..., None], torch.finfo(affinity.dtype).min)
    weights = affinity.softmax(dim=1) * valid[..., None]
    value_nodes = project_value(nodes[1])
    message = torch.einsum("bnc,bnp->bcp", value_nodes, weights.to(value_nodes.dtype))
    return message.unflatten(2, (height, width))


def stacked_messages(sgn: propagation.SGN, features: Tensor, clicks: Tensor, stride: int) -> Tensor:
    """As `SGN.forward` was."""
    messages = torch.stack([head(features, features, clicks, stride) for head in sgn.heads])
    return sgn.out(features + messages.mean(dim=0))


def measure(model: CSFPN, scenes: Scenes, config: TrainingConfig, steps: int, device: str) -> list[Way]:
    """Make the same steps in all ways; the first one of each is not counted.

    The clock of each holds the seconds of its parts, those of drawing and augmenting included.
    """
    alone = device == "cpu" and torch.get_num_threads() == 1
    now = time.thread_time if alone else time.perf_counter
    ways = [
        _way(model, replace(config, precision=precision), before, device)
        for precision in ("float32", "bfloat16")
        for before in ((True, False) if device == "cpu" else (False,))
    ]
    generator = torch.Generator().manual_seed(config.seed)
    for number in range(steps + 1):
        if number < 2:  # anew after the first step
            common = Clock(device, now)
            for way in ways:
                way.start_anew(now)
        batch = draw_batch(scenes, config, generator, device, common)
        for way in ways:
            way.advance(batch)
    for way in ways:
        way.run.clock.seconds |= common.seconds
    return ways


def _way(model: CSFPN, config: TrainingConfig, before: bool, device: str) -> Way:
    run = Run(deepcopy(model), config, device)
    way = Way(f"{config.precision}{', before' if before else ''}", run, before, _operations(run))
    predict = run.stage.predict

    def counted(*arguments: Tensor) -> Tensor:
        way.predictions += 1
        return predict(*arguments)

    run.stage.predict = counted  # type: ignore[method-assign, assignment]
    return way


def _operations(run: Run) -> float:
    """Of one prediction of a batch; multiplications and additions are counted apart."""
    batch, size = run.config.batch, run.config.size
    shapes = (batch, 3, size, size), (batch, 1, size, size), (batch, 24, 3)
    arguments = [torch.zeros(shape, device=run.device) for shape in shapes]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run.stage.predict(*arguments)
    return counter.get_total_flops()


def peak(precision: str, device: str) -> float:
    """Operations a second of a matrix product."""
    side = SIDE[torch.device(device).type]
    matrix = torch.randn(side, side, device=device).to(getattr(torch, precision))
    alone = device == "cpu" and torch.get_num_threads() == 1
    seconds = []
    for _ in range(12):
        clock = Clock(device, time.thread_time if alone else time.perf_counter)
        with clock.time("product"):
            torch.mm(matrix, matrix)
        seconds.append(clock.seconds["product"])
    return 2 * side**3 / median(seconds[2:])


def table(ways: list[Way], steps: int, peaks: dict[str, float]) -> str:
    """One line a way: samples a second, milliseconds of a step by part, and operations a second."""
    lines = [
        f"{'':18}{'samples/s':>10}{''.join(f'{part:>11}' for part in PARTS)}{'GFLOP/s':>10}{'of peak':>9}"
    ]
    for way in ways:
        seconds = way.run.clock.seconds
        whole = sum(seconds.values())
        # a gradient is one forward pass and twice as much on the way back
        rate = (way.predictions + 3 * steps) * way.operations / whole
        parts = "".join(f"{1e3 * seconds[part] / steps:>11.1f}" for part in PARTS)
        share = rate / peaks[way.run.config.precision]
        speed = steps * way.run.config.batch / whole
        lines.append(f"{way.name:18}{speed:>10.2f}{parts}{rate / 1e9:>10.1f}{share:>9.1%}")
    lines.append(
        f"peak: {', '.join(f'{value / 1e9:.0f} GFLOP/s in {name}' for name, value in peaks.items())}"
    )
    return "\n".join(lines)


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="Parquet file, or a folder of them")
    parser.add_argument("--config", type=Path, default=Path("recipes/default.yaml"), help="recipe")
    parser.add_argument(
        "--start", type=Path, help="checkpoint; without it random weights, which cost as much"
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--hold", action="store_true", help="keep all images decoded on the device")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    recipe = read_recipe(given.config)
    if recipe.training.stage != "coarse":
        parser.error(
            f"{given.config} is of the stage {recipe.training.stage!r}; give a recipe of the coarse one"
        )
    model = CSFPN(recipe.model) if given.start is None else load_checkpoint(given.start).model
    corpus = Corpus.read(given.data, shares=recipe.training.shares)
    scenes = Resident(corpus, given.device) if given.hold else corpus
    before = {name: peak(name, given.device) for name in ("float32", "bfloat16")}
    ways = measure(model, scenes, recipe.training, given.steps, given.device)
    # the better of two: other work may have slowed one
    peaks = {name: max(value, peak(name, given.device)) for name, value in before.items()}
    print(table(ways, given.steps, peaks))


if __name__ == "__main__":
    main()
