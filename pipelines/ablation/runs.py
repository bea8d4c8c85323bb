"""Runs of an ablation: one row with one seed, trained and measured once."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maskloop.checkpoint import load_checkpoint
from maskloop.corpus import Corpus
from maskloop.datasets import Sample, Samples
from maskloop.errors import TrainingError
from maskloop.evaluation import Report, evaluate
from maskloop.model import CSFPN, ModelConfig
from maskloop.predictor import Predictor
from maskloop.training import train
from pipelines.ablation.config import ROWS, AblationConfig, Start
from pipelines.ablation.table import summarise, write
from pipelines.files import write_atomically

STOP = 0.90
"""Clicks after this IoU change neither NoC@85 nor NoC@90, so they are not made."""


def ablate(
    corpus: Corpus,
    samples: Samples,
    out: Path,
    config: AblationConfig,
    dataset: str,
    start: Start | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> dict[str, Any]:
    """Train and measure every row with every seed, and write `ablation.json` and `ablation.md` into `out`.

    Args:
        corpus: training images.
        samples: objects that are measured on.
        out: folder of the ablation; runs found there are kept.
        config: budget and seeds.
        dataset: name of the samples.
        start: what the rows start from; without it random values.
        device: of the training.
        progress: show progress bars.

    Returns:
        What `ablation.json` holds.
    """
    start = start or Start()
    samples = samples.spread(config.objects)
    results: dict[str, list[Report]] = {row: [] for row in ROWS}
    summary: dict[str, Any] = {}
    # seed by seed, so that a table with all rows stands as early as possible
    for seed in config.seeds:
        for row in ROWS:
            run = Run(out, row, seed, config, dataset)
            results[row].append(run.result(corpus, samples, start, device, progress))
        summary = summarise(results, config, len(corpus), dataset, start.name)
        write(summary, out)
    return summary


@dataclass(frozen=True)
class Run:
    """One row with one seed."""

    out: Path
    row: str
    seed: int
    config: AblationConfig
    dataset: str

    @property
    def folder(self) -> Path:
        return self.out / "runs" / f"{self.row.lower().replace('+', '-')}-seed{self.seed}"

    def result(
        self,
        corpus: Corpus,
        samples: Sequence[Sample],
        start: Start,
        device: str,
        progress: bool,
    ) -> Report:
        """The result file of an earlier call, or train, measure and write it."""
        file = self.folder / "result.json"
        self._check_settings(start.name)
        if file.is_file():
            return Report.read(file)
        training = replace(self.config.training, name=self.folder.name, seed=self.seed)
        facts = {"start": start.name, "ablation": self.row}
        print(f"{self.row}, seed {self.seed}: {training.steps} steps")
        model = first_model(self.config.model, self.row, self.seed, start)
        train(model, corpus, self.folder, training, facts, device, progress=progress)
        report = evaluate(
            Predictor.load(self.folder),
            samples,
            self.config.max_clicks,
            progress=progress,
            stop=STOP,
            dataset=self.dataset,
        )
        report.write(file)
        print(f"{self.row}, seed {self.seed}: NoC@90 {report.noc(0.9):.2f}")
        return report

    def _check_settings(self, start: str) -> None:
        """Runs of different settings must not meet in one table."""
        file = self.folder / "settings.json"
        settings = {
            "training": asdict(self.config.training),
            "model": self.config.model.to_dict(),
            "objects": self.config.objects,
            "max_clicks": self.config.max_clicks,
            "dataset": self.dataset,
            "start": start,
        }
        text = json.dumps(settings, indent=2) + "\n"
        # both as JSON knows them, to which a tuple is a list
        if file.is_file() and _differs(json.loads(file.read_text(encoding="utf-8")), json.loads(text)):
            raise TrainingError(
                f"{self.folder} was made with other settings (see {file.name}); give another --out"
            )
        write_atomically(file, text.encode())


def _differs(recorded: Any, wanted: Any) -> bool:
    """Whether a recorded value differs; what only one of two versions knows is not held against a run."""
    if isinstance(recorded, dict) and isinstance(wanted, dict):
        return any(_differs(recorded[name], wanted[name]) for name in recorded.keys() & wanted.keys())
    return bool(recorded != wanted)


def first_model(common: ModelConfig, row: str, seed: int, start: Start) -> CSFPN:
    """The network of a row before training: equal to the other rows' wherever parameters are shared."""
    if row not in ROWS:
        raise TrainingError(f"unknown row {row!r}; known are {', '.join(ROWS)}")
    torch.manual_seed(seed)
    full = CSFPN(replace(common, **list(ROWS.values())[-1])).state_dict()
    torch.manual_seed(seed)
    model = CSFPN(replace(common, **ROWS[row]))
    _take(model, full)
    if start.checkpoint is not None:
        _take(model, load_checkpoint(start.checkpoint).model.state_dict())
    elif start.imagenet is not None:
        model.encoder.load_imagenet(start.imagenet)
    return model


def _take(model: CSFPN, values: Mapping[str, Tensor]) -> None:
    """Give a network the values that fit it by name and shape."""
    own = model.state_dict()
    fits = {name for name in own if name in values and values[name].shape == own[name].shape}
    model.load_state_dict({name: values[name] if name in fits else own[name] for name in own})
