"""Training with iterative click simulation, resumable at every saved step.

One step: draw views, simulate up to three rounds of clicking with the current network, then learn from the
last state. Everything random comes from one generator whose state is saved, so a resumed run goes on as if it
had not stopped.
"""

import csv
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from maskloop.checkpoint import save_checkpoint
from maskloop.errors import TrainingError
from maskloop.losses import binary_cross_entropy, normalised_focal_loss
from maskloop.model import CSFPN
from maskloop.simulation import corrective_click, external_masks, first_clicks, random_clicks
from maskloop.views import Scene, View, augment, draw_view, stack_views

AUXILIARY_WEIGHT = 0.4
FIRST_CLICK_SHARE = 0.8
"""Share of items that start from one interior click; the others start from random clicks."""
EXTERNAL_SHARE = 0.2
"""Share of items whose previous mask comes from elsewhere and whose first click corrects it."""
ROUNDS = (0.5, 0.2, 0.15, 0.15)
"""Probability of 0, 1, 2, 3 rounds of simulated clicking before the step; the first click matters most."""
AGAIN_SHARE = 0.25
"""Share of steps with one more round that adds no click: what the predictor's second pass sees."""


@dataclass(frozen=True)
class TrainingConfig:
    """A run; every field is a line of params.yaml or of a recipe."""

    name: str = "default"
    steps: int = 1000
    batch: int = 8
    size: int = 192
    """Side of the square views in pixels."""
    learning_rate: float = 5e-4
    encoder_rate: float = 0.4
    """Learning rate of the encoder as a multiple of the others'."""
    warmup: int = 50
    weight_decay: float = 1e-4
    average: float = 0.98
    """Decay of the moving average of weights, which is what is saved."""
    freeze_statistics: bool = True
    """Keep the encoder's batch-norm statistics: small batches would only blur them."""
    seed: int = 0
    save_every: int = 100
    shares: Mapping[str, float] = field(default_factory=dict)
    """Relative share of each source; empty: by size."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "save_every"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.size < 64:
            raise TrainingError(f"size is {self.size}; views need at least 64 pixels a side")


class Scenes(Protocol):
    """Where training images come from, such as `maskloop.corpus.Corpus`."""

    def __len__(self) -> int: ...

    def draw(self, generator: Generator) -> Scene:
        """A random image with its objects."""
        ...


@dataclass(frozen=True)
class Interaction:
    """A batch in the middle of a click session."""

    view: View
    previous: Tensor
    clicks: Tensor


class Run:
    """The state of a training run: network, its average, optimiser, step and random numbers."""

    def __init__(self, model: CSFPN, config: TrainingConfig, device: str) -> None:
        self.config = config
        self.device = device
        self.model = model.to(device)
        # batch-norm statistics are copied, not averaged: their average lags behind what the weights produce
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(config.average))
        self.optimiser = _optimiser(self.model, config)
        self.generator = Generator().manual_seed(config.seed)
        self.step = 0

    def advance(self, batch: View) -> float:
        """One step of learning; returns the loss."""
        interaction = self._simulate(batch)
        self._set_training()
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * _schedule(self.step, self.config)
        logits = self.model(interaction.view.image, interaction.previous, interaction.clicks)
        target = interaction.view.target[:, None]
        loss = normalised_focal_loss(logits.mask, target)
        loss = loss + AUXILIARY_WEIGHT * binary_cross_entropy(logits.auxiliary, target)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is {float(loss.detach())} at step {self.step}; lower learning_rate and resume"
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)
        self.optimiser.step()
        self.average.update_parameters(self.model)
        self.step += 1
        return float(loss.detach())

    def _simulate(self, batch: View) -> Interaction:
        """Click with the current network in evaluation mode, without gradients."""
        interaction = start_interaction(batch, self.generator)
        rounds = int(torch.multinomial(torch.tensor(ROUNDS), 1, generator=self.generator))
        again = bool(torch.rand((), generator=self.generator) < AGAIN_SHARE)
        self.model.eval()
        clicks, previous = interaction.clicks, interaction.previous
        with torch.no_grad():
            for number in range(rounds + again):
                previous = self.model(batch.image, previous, clicks).mask.sigmoid()
                if number < rounds:
                    clicks = corrective_click(previous, batch.target, clicks, self.generator)
        return Interaction(batch, previous, clicks)

    def _set_training(self) -> None:
        self.model.train()
        if self.config.freeze_statistics:
            for module in self.model.encoder.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    def save(self, out: Path, metadata: Mapping[str, object]) -> None:
        """Write the checkpoint and, beside it, all that a resumed run needs."""
        save_checkpoint(_plain(self.average), out, self.config.name, metadata)
        state = {f"model.{key}": value for key, value in self.model.state_dict().items()}
        state |= {f"average.{key}": value for key, value in self.average.state_dict().items()}
        for index, values in self.optimiser.state_dict()["state"].items():
            state |= {f"optimiser.{index}.{key}": value for key, value in values.items()}
        state["generator"] = self.generator.get_state()
        state["step"] = torch.tensor(self.step)
        resume = _resume_file(out)
        fresh = resume.with_suffix(".part")
        save_file({key: value.detach().clone().contiguous() for key, value in state.items()}, fresh)
        fresh.replace(resume)

    def resume(self, out: Path) -> bool:
        """Take up a run where `save` left it; False when there is nothing to take up."""
        file = _resume_file(out)
        if not file.is_file():
            return False
        state = load_file(file)
        self.model.load_state_dict(_part(state, "model."))
        self.average.load_state_dict(_part(state, "average."))
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in _part(state, "optimiser.").items():
            index, name = key.split(".", 1)
            moments.setdefault(int(index), {})[name] = value
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})
        self.generator.set_state(state["generator"])
        self.step = int(state["step"])
        return True


def train(
    model: CSFPN,
    scenes: Scenes,
    out: Path,
    config: TrainingConfig,
    metadata: Mapping[str, object] | None = None,
    device: str = "cpu",
    resume: bool = True,
    progress: bool = True,
) -> Path:
    """Train a network and write its checkpoint.

    Args:
        model: where training starts from.
        scenes: images with masks.
        out: folder of the checkpoint; `log.csv` and the state for resuming are written into it too.
        config: the run.
        metadata: is added to the checkpoint's description.
        device: torch device.
        resume: go on with the run found in `out`, if there is one.
        progress: show a progress bar.

    Returns:
        `out`.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    run = Run(model, config, device)
    if resume and run.resume(out):
        _forget_after(run.step, out / "log.csv")
        tqdm.write(f"resumed at step {run.step} of {config.steps}")
    facts = {**(metadata or {}), "config": asdict(config), "images": len(scenes)}
    started, first = time.monotonic(), run.step
    bar = tqdm(total=config.steps, initial=run.step, disable=not progress, unit="step", mininterval=5)
    with (out / "log.csv").open("a", newline="") as log:
        writer = csv.writer(log, lineterminator="\n")
        while run.step < config.steps:
            loss = run.advance(draw_batch(scenes, config, run.generator, device))
            bar.update()
            bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
            writer.writerow([run.step, f"{loss:.6f}"])
            if run.step % config.save_every == 0 or run.step == config.steps:
                log.flush()
                run.save(out, {**facts, "steps_done": run.step})
    bar.close()
    seconds = time.monotonic() - started
    tqdm.write(f"{(run.step - first) * config.batch / max(seconds, 1e-9):.1f} samples a second")
    return out


def draw_batch(scenes: Scenes, config: TrainingConfig, generator: Generator, device: str) -> View:
    """A batch of augmented views."""
    views: list[View] = []
    while len(views) < config.batch:
        view = draw_view(scenes.draw(generator), config.size, generator)
        if view is not None:
            views.append(view)
    batch = stack_views(views)
    moved = View(batch.image.to(device), batch.target.to(device), batch.others.to(device))
    return augment(moved, generator)


def start_interaction(batch: View, generator: Generator) -> Interaction:
    """Per item one interior click, several random clicks, or an external mask with its first correction."""
    count = batch.target.shape[0]
    draws = torch.rand(2, count, generator=generator).to(batch.image.device)
    external = draws[0] < EXTERNAL_SHARE
    masks = external_masks(batch.target, batch.others, generator) * external[:, None, None, None]
    one = corrective_click(masks, batch.target, first_clicks(batch.target, generator)[:, :0], generator)
    several = random_clicks(batch.target, batch.others, generator)
    single = external | (draws[1] < FIRST_CLICK_SHARE)
    one = torch.cat([one, torch.zeros(count, several.shape[1] - 1, 3, device=one.device)], dim=1)
    return Interaction(batch, masks, torch.where(single[:, None, None], one, several))


def _optimiser(model: CSFPN, config: TrainingConfig) -> torch.optim.Optimizer:
    encoder = list(model.encoder.parameters())
    known = {id(parameter) for parameter in encoder}
    others = [parameter for parameter in model.parameters() if id(parameter) not in known]
    groups = [
        {"params": encoder, "peak": config.learning_rate * config.encoder_rate},
        {"params": others, "peak": config.learning_rate},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)


def _schedule(step: int, config: TrainingConfig) -> float:
    """Linear warm-up, then half a cosine down to a fiftieth."""
    warm = min(1.0, (step + 1) / max(1, config.warmup))
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / config.steps))))


def _plain(average: AveragedModel) -> CSFPN:
    return cast(CSFPN, average.module)


def _resume_file(out: Path) -> Path:
    return out / "resume.safetensors"


def _forget_after(step: int, log: Path) -> None:
    """Drop the lines of steps that were made but not saved: they are made again."""
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(line for line in lines if int(line.split(",")[0]) <= step))


def _part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
