"""The state of a training run, one step of it, and its way to a file and back."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from maskloop.checkpoint import save_checkpoint
from maskloop.errors import TrainingError
from maskloop.model import CSFPN
from maskloop.training.clock import Clock
from maskloop.training.config import TrainingConfig
from maskloop.training.interactions import Interaction, click_on, draw_rounds, start_interaction
from maskloop.training.optimisation import build_optimiser, set_learning_rates
from maskloop.training.processes import Processes
from maskloop.training.resuming import read_state, write_state
from maskloop.training.stages import build_stage
from maskloop.views import View


@dataclass(frozen=True)
class Step:
    """What one step of learning did; the norm is that of the gradient before it was clipped."""

    loss: float
    learning_rate: float
    gradient_norm: float


class Run:
    """The state of a training run: network, its average, optimiser, step and random numbers."""

    def __init__(
        self, model: CSFPN, config: TrainingConfig, device: str = "cpu", processes: Processes | None = None
    ) -> None:
        self.config = config
        self.device = device
        self.processes = processes or Processes()
        self.clock = Clock(device)
        # convolutions are faster with the channels of a pixel side by side, on processors and accelerators
        start = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.processes.copy_first(start)
        self.stage = build_stage(start, config)
        self.model = self.stage.model
        # batch-norm statistics are copied, not averaged: their average lags behind what the weights produce
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(config.average))
        # what is not learnt is shared: an average of equal numbers would only round them
        cast(CSFPN, self.average.module).prompted = self.model.prompted
        self.optimiser = build_optimiser(self.model, config)
        self.generator = Generator().manual_seed(_seed(config.seed, self.processes.rank + 1))
        # decides how much each step computes, so it is the same in all processes: none waits for another
        self.common = Generator().manual_seed(_seed(config.seed, 0))
        torch.manual_seed(_seed(config.seed, self.processes.rank + 1))
        self.step = 0

    def advance(self, batch: View) -> Step:
        """Simulate clicks on a batch and learn from them."""
        with self.clock.time("clicks"):
            interaction = self._simulate(batch)
        return self.learn(interaction)

    def learn(self, interaction: Interaction) -> Step:
        """One step of learning; TrainingError when loss or gradient is not finite."""
        rate = set_learning_rates(self.optimiser, self.step, self.config)
        with self.clock.time("gradient"):
            self._set_training()
            loss = self.stage.loss(interaction)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            loss = loss.detach()
            self.processes.average([loss, *self._gradients(), *self._statistics()])
        with self.clock.time("optimiser"):
            limit = self.config.gradient_clip or float("inf")
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
            done = Step(float(loss), rate, float(norm))
            self._check(done)
            self.optimiser.step()
        with self.clock.time("average"):
            self.average.update_parameters(self.model)
        self.step += 1
        return done

    def _simulate(self, batch: View) -> Interaction:
        """Click with the current network in evaluation mode."""
        start = start_interaction(batch, self.config, self.generator)
        rounds = draw_rounds(self.config, self.common)
        again = float(torch.rand((), generator=self.common)) < self.stage.again_share
        self.model.eval()
        return click_on(start, self.stage.predict, rounds, again, self.generator)

    def _set_training(self) -> None:
        self.model.train()
        if self.config.freeze_statistics:
            for module in self.model.encoder.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    def _gradients(self) -> list[Tensor]:
        # the same parameters have one in every process: which are used is decided by the configuration alone
        return [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]

    def _statistics(self) -> list[Tensor]:
        return [buffer for buffer in self.model.buffers() if buffer.is_floating_point()]

    def _check(self, done: Step) -> None:
        for name, value in (("loss", done.loss), ("gradient's norm", done.gradient_norm)):
            if not np.isfinite(value):
                raise TrainingError(
                    f"the {name} is {value} at step {self.step}; lower learning_rate and resume"
                )

    def save(self, out: Path, metadata: Mapping[str, object]) -> None:
        """Write the checkpoint and, beside it, all that a resumed run needs."""
        random = [self.generator.get_state(), torch.get_rng_state()]
        gathered = [self.processes.gather(state, self.device) for state in random]
        if not self.processes.first:
            return
        average, coarse = cast(CSFPN, self.average.module), self.stage.coarse
        fine = None if coarse is None else average
        save_checkpoint(coarse or average, out, self.config.name, metadata, fine)
        modules = {"model": self.model, "average": self.average, "coarse": coarse}
        state = {
            f"{part}.{key}": value
            for part, module in modules.items()
            if module is not None
            for key, value in module.state_dict().items()
        }
        for index, values in self.optimiser.state_dict()["state"].items():
            state |= {f"optimiser.{index}.{key}": value for key, value in values.items()}
        state |= {"generator": gathered[0], "torch": gathered[1], "common": self.common.get_state()}
        write_state(out, state | {"step": torch.tensor(self.step)}, self._identity())

    def resume(self, out: Path) -> bool:
        """Take up a run where `save` left it; False when there is nothing to take up.

        With dropout on an accelerator, whose random numbers are not saved, the run goes on with others.

        Raises:
            TrainingError: it was made by another stage, network or number of processes.
        """
        state = read_state(out, self._identity())
        if state is None:
            return False
        self.model.load_state_dict(_part(state, "model."))
        self.average.load_state_dict(_part(state, "average."))
        if self.stage.coarse is not None:
            self.stage.coarse.load_state_dict(_part(state, "coarse."))
        self._resume_optimiser(_part(state, "optimiser."))
        # clones: a generator reads its state with instructions that a row inside a tensor is not aligned for
        self.generator.set_state(state["generator"][self.processes.rank].clone())
        torch.set_rng_state(state["torch"][self.processes.rank].clone())
        self.common.set_state(state["common"])
        self.step = int(state["step"])
        return True

    def _resume_optimiser(self, state: Mapping[str, Tensor]) -> None:
        parameters = [item for group in self.optimiser.param_groups for item in group["params"]]
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            index, name = key.split(".", 1)
            # in the parameter's memory format, as it was made: other code runs on other formats
            like = parameters[int(index)] if value.dim() else value
            moments.setdefault(int(index), {})[name] = torch.empty_like(like, dtype=value.dtype).copy_(value)
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})

    def _identity(self) -> dict[str, object]:
        """What a run must share with the one that it takes up."""
        return {
            "stage": self.config.stage,
            "processes": self.processes.count,
            "network": asdict(self.model.config),
        }


def _seed(seed: int, stream: int) -> int:
    """A seed for each of a run's streams of random numbers, unrelated to those of runs with other seeds."""
    return int(np.random.SeedSequence(seed, spawn_key=(stream,)).generate_state(1)[0])


def _part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
