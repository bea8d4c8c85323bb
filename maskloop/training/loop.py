"""From a network and images to a checkpoint."""

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from tqdm import tqdm

from maskloop.model import CSFPN
from maskloop.training.batches import Scenes, draw_batch
from maskloop.training.config import TrainingConfig
from maskloop.training.log import open_log
from maskloop.training.precision import supported
from maskloop.training.processes import join_processes
from maskloop.training.report import write_report
from maskloop.training.run import Run

LOG = "log.csv"


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

    Under `torchrun` the processes train together: each draws its part of every batch, and the first one
    writes. All of them read `out` when a run is resumed.

    Args:
        model: where training starts from; in the fine stage the coarse network.
        scenes: images with masks.
        out: folder of the checkpoint; `log.csv`, `training.json` and the state for resuming are written into
            it too.
        config: the run; in float32 instead of bfloat16 on a processor that has no instructions for that.
        metadata: is added to the checkpoint's description.
        device: torch device; under `torchrun`, `cuda` stands for each process's own.
        resume: go on with the run found in `out`, if there is one.
        progress: show a progress bar.

    Returns:
        `out`.
    """
    out.mkdir(parents=True, exist_ok=True)
    processes, own_device = join_processes(device)
    precision = supported(config.precision, own_device)
    if precision != config.precision:
        if processes.first:
            tqdm.write(f"{config.precision} would be slow on this processor: training in {precision}")
        config = replace(config, precision=precision)
    run = Run(model, config, own_device, processes)
    if resume and run.resume(out) and processes.first:
        tqdm.write(f"resumed at step {run.step} of {config.steps}")
    first, started = run.step, time.monotonic()
    facts = {**(metadata or {}), "config": asdict(config), "images": len(scenes)}
    _advance(run, scenes, out, facts, progress)
    if processes.first and run.step > first:
        write_report(out, run, first, time.monotonic() - started)
    processes.wait()
    return out


def _advance(run: Run, scenes: Scenes, out: Path, facts: Mapping[str, object], progress: bool) -> None:
    """Do the steps that are left."""
    config, first = run.config, run.processes.first
    own = replace(config, batch=run.processes.part_of(config.batch), size=config.size * run.stage.view_scale)
    bar = tqdm(
        total=config.steps, initial=run.step, disable=not (progress and first), unit="step", mininterval=5
    )
    with bar, open_log(out / LOG if first else Path(os.devnull), run.step) as log:
        while run.step < config.steps:
            started = time.perf_counter()
            done = run.advance(draw_batch(scenes, own, run.generator, run.device, run.clock))
            log.write(run.step, done, time.perf_counter() - started)
            bar.update()
            bar.set_postfix(loss=f"{done.loss:.4f}", refresh=False)
            if run.step % config.save_every == 0 or run.step == config.steps:
                log.flush()
                run.save(out, {**facts, "steps_done": run.step})
