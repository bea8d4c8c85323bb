"""What the choices of the training recipe are worth: each changed alone, at one budget, from one start.

    python -m benchmarks.recipe_ablation DATA --start checkpoints/small --eval coco_mval-00.parquet \\
        --steps 150 --objects 48 --out runs/recipe

Every variant starts from the same checkpoint, sees as many views with the same random numbers, and is clicked
on at the same objects. `another seed` changes nothing but the seed: a difference no larger than its own is
what chance alone does. Intervals are of the objects, paired, over images; they do not hold that chance.

A variant that is the base's own setting is left out. Finished variants in `--out` are kept, an interrupted
one goes on where it was saved. Before it starts the benchmark says how long it will take.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks.kept import kept
from maskloop.checkpoint import load_checkpoint
from maskloop.corpus import Corpus
from maskloop.datasets import Samples, open_dataset
from maskloop.errors import TrainingError
from maskloop.evaluation import evaluate
from maskloop.intervals import difference, interval
from maskloop.predictor import Predictor
from maskloop.recipes import read_recipe
from maskloop.results import Report
from maskloop.training import Run, TrainingConfig, draw_batch, train
from maskloop.training.precision import supported
from maskloop.training.report import REPORT
from maskloop.training.resuming import STATE

BASE = "base"
STOP = 0.9
"""Clicks after this IoU change neither NoC@85 nor NoC@90, so they are not made."""
RESULT = "result.json"
STATISTICS = ("noc85", "noc90")

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "another seed": {"seed": 17},
    # how sessions start
    "half from one click": {"one_click": 0.5},
    "all from one click": {"one_click": 1.0},
    "no external masks": {"external_masks": 0.0},
    "half external masks": {"external_masks": 0.5},
    # how long they are
    "no rounds": {"rounds": (1.0,)},
    "up to three rounds": {"rounds": (0.5, 0.2, 0.15, 0.15)},
    "up to six rounds": {"rounds": (0.45, 0.2, 0.12, 0.08, 0.06, 0.05, 0.04)},
    # what is seen
    "without DUTS": {"shares": {"coco": 0.5, "bsds": 0.21, "ccp": 0.29}},
    "DUTS alone": {"shares": {"duts": 1.0}},
    "views of 128": {"size": 128},
    "views of 224": {"size": 224},
    # how it is learnt
    "no average": {"average": 0.0},
    "average over more steps": {"average": 0.99},
    "bfloat16": {"precision": "bfloat16"},
    "float32": {"precision": "float32"},
    "statistics learn": {"freeze_statistics": False},
    "encoder learns a tenth": {"encoder_rate": 0.1},
    "encoder learns as much": {"encoder_rate": 1.0},
    "a third of the rate": {"learning_rate": 1.7e-4},
}


def variants(base: TrainingConfig, chosen: Sequence[str] = ()) -> dict[str, TrainingConfig]:
    """The base and what differs from it; TrainingError for a name that there is not."""
    unknown = [name for name in chosen if name not in VARIANTS]
    if unknown:
        raise TrainingError(f"unknown variant {unknown[0]!r}; there are {', '.join(VARIANTS)}")
    changed = {name: replace(base, **VARIANTS[name]) for name in chosen or VARIANTS}
    return {BASE: base} | {name: config for name, config in changed.items() if config != base}


def budget(recipe: TrainingConfig, steps: int, batch: int | None, size: int | None) -> TrainingConfig:
    """The recipe with another number of steps, and a warm-up that is no more than a sixth of them."""
    return replace(
        recipe,
        steps=steps,
        warmup=min(recipe.warmup, steps // 6),
        batch=batch or recipe.batch,
        size=size or recipe.size,
        save_every=min(recipe.save_every, 50),
    )


def folder_of(out: Path, name: str) -> Path:
    """Where a variant is kept."""
    return out / name.replace(" ", "-")


class Ablation:
    """Trains and measures variants from one start."""

    def __init__(self, data: Path, start: Path, samples: Samples, dataset: str, out: Path) -> None:
        self._data = data
        self._start = start
        self._samples = samples
        self._dataset = dataset
        self._out = out

    def before(self) -> Report:
        """The start itself, measured."""
        self._out.mkdir(parents=True, exist_ok=True)
        return self._measure(self._start, self._out / "start.json")

    def result(self, name: str, config: TrainingConfig) -> Report:
        """The variant, trained and measured."""
        folder = folder_of(self._out, name)
        self._check(folder, config)
        if not (folder / RESULT).is_file():
            corpus = Corpus.read(self._data, shares=config.shares)
            model, named = load_checkpoint(self._start).model, replace(config, name=folder.name)
            train(model, corpus, folder, named, {"start": str(self._start)}, progress=False)
        report = self._measure(folder, folder / RESULT)
        (folder / STATE).unlink(missing_ok=True)  # as large as several checkpoints, and no longer needed
        return report

    def speed(self, name: str) -> float | None:
        """Samples a second of a variant's training; None where its last moment was cut off."""
        file = folder_of(self._out, name) / REPORT
        return json.loads(file.read_text())["samples_per_second"] if file.is_file() else None

    def seconds_a_view(self, config: TrainingConfig, steps: int = 3) -> float:
        """What training takes for a view, by a few steps."""
        corpus = Corpus.read(self._data, shares=config.shares)
        # as `train` would run it
        config = replace(config, precision=supported(config.precision, "cpu"))
        run = Run(load_checkpoint(self._start).model, config)
        run.advance(draw_batch(corpus, config, run.generator, "cpu"))
        started = time.perf_counter()
        for _ in range(steps):
            run.advance(draw_batch(corpus, config, run.generator, "cpu"))
        return (time.perf_counter() - started) / steps / config.batch

    def _measure(self, checkpoint: Path, file: Path) -> Report:
        predictor = Predictor.load(checkpoint)
        return kept(
            file,
            predictor.version,
            len(self._samples),
            lambda: evaluate(predictor, self._samples, stop=STOP, dataset=self._dataset, progress=False),
        )

    def _check(self, folder: Path, config: TrainingConfig) -> None:
        """Runs of different settings must not meet in one table."""
        file = folder / "settings.json"
        wanted = json.loads(json.dumps({"start": str(self._start), **asdict(config)}))
        if file.is_file() and json.loads(file.read_text()) != wanted:
            raise TrainingError(
                f"{folder} was made with other settings (see {file.name}); give another --out"
            )
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(wanted, indent=2) + "\n")


def expected_minutes(configs: Sequence[TrainingConfig], seconds_a_view: float, measuring: float) -> float:
    """How long variants take, from the seconds of a view of the first one and of one evaluation."""
    pixels = sum(config.steps * config.batch * (config.size / configs[0].size) ** 2 for config in configs)
    return (pixels * seconds_a_view + len(configs) * measuring) / 60


def row(name: str, report: Report, base: Report | None, speed: float | None) -> dict[str, Any]:
    """The figures of a variant; differences are paired with the base's objects."""
    figures: dict[str, Any] = {"variant": name, "objects": len(report.objects)}
    for statistic in STATISTICS:
        found = interval(report, statistic)
        figures |= {statistic: found.mean, f"{statistic}_low": found.low, f"{statistic}_high": found.high}
        if base is not None:
            against = difference(report, base, statistic)
            figures |= {
                f"{statistic}_against_base": against.mean,
                f"{statistic}_against_base_low": against.low,
                f"{statistic}_against_base_high": against.high,
            }
    return figures | {"failed90": report.failures(0.9), "samples_per_second": speed}


def line(figures: Mapping[str, Any]) -> str:
    """One row of the table in Markdown."""
    cells = [figures["variant"]]
    for statistic in STATISTICS:
        cells.append("{:.2f} [{:.2f}, {:.2f}]".format(*_three(figures, statistic)))
    for statistic in STATISTICS:
        name = f"{statistic}_against_base"
        cells.append("{:+.2f} [{:+.2f}, {:+.2f}]".format(*_three(figures, name)) if name in figures else "")
    speed = figures["samples_per_second"]
    cells += [str(figures["failed90"]), "" if speed is None else f"{speed:.1f}"]
    return f"| {' | '.join(cells)} |"


HEAD = """\
| | NoC@85 | NoC@90 | NoC@85 against base | NoC@90 against base | not solved @90 | samples/s |
| --- | --- | --- | --- | --- | --- | --- |"""


def _three(figures: Mapping[str, Any], name: str) -> list[float]:
    return [figures[name], figures[f"{name}_low"], figures[f"{name}_high"]]


def run(ablation: Ablation, configs: Mapping[str, TrainingConfig], out: Path) -> Iterator[str]:
    """Do it all, a line of the table at a time; `results.csv` holds what is done so far."""
    first = ablation.before()
    missing = [item for name, item in configs.items() if not (folder_of(out, name) / RESULT).is_file()]
    if missing:
        measuring = sum(sum(item.seconds) for item in first.objects)
        minutes = expected_minutes(missing, ablation.seconds_a_view(missing[0]), measuring)
        yield f"{len(missing)} variants to train and measure: about {minutes:.0f} minutes\n"
    yield HEAD
    rows = [row("start", first, None, None)]
    yield line(rows[0])
    base = None
    for name, config in configs.items():
        report = ablation.result(name, config)
        rows.append(row(name, report, base, ablation.speed(name)))
        base = base or report
        pd.DataFrame(rows).to_csv(out / "results.csv", index=False)
        yield line(rows[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="Parquet file, or a folder of them, to train on")
    parser.add_argument("--start", type=Path, default=Path("checkpoints/small"), help="checkpoint")
    parser.add_argument(
        "--config", type=Path, default=Path("recipes/default.yaml"), help="recipe of the base"
    )
    parser.add_argument("--eval", type=Path, required=True, help="Parquet file that is measured on")
    parser.add_argument("--split", help="its rows; all without it")
    parser.add_argument("--objects", type=int, default=48, help="spread evenly over them")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch", type=int, help="views a step; the recipe's without it")
    parser.add_argument("--size", type=int, help="side of the views; the recipe's without it")
    parser.add_argument("--variants", nargs="*", default=(), help="names; all without them")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    samples = open_dataset("parquet", given.eval, given.split).spread(given.objects)
    base = budget(read_recipe(given.config).training, given.steps, given.batch, given.size)
    ablation = Ablation(given.data, given.start, samples, given.eval.stem, given.out)
    for text in run(ablation, variants(base, given.variants), given.out):
        print(text, flush=True)


if __name__ == "__main__":
    main()
