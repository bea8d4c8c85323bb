"""The ablation of the paper's Table 2: five networks under one budget, measured on the same objects.

A row differs from the next in `sgn` and `hires` alone. For one seed all rows start from the same values
wherever they have the same parameters (those of a checkpoint, or the encoder's of ImageNet), see the same
views and the same simulated randomness. A run, one row with one seed, is a folder: checkpoint, log, what it
was made with, and its result file. A finished run is not made again, an interrupted one is taken up where it
stopped.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import yaml
from torch import Tensor

from maskloop.checkpoint import load_checkpoint
from maskloop.corpus import Corpus
from maskloop.datasets import Sample, Samples
from maskloop.errors import EvaluationError, TrainingError
from maskloop.evaluation import MAX_CLICKS, Report, evaluate
from maskloop.intervals import bootstrap
from maskloop.model import CSFPN, ModelConfig
from maskloop.model.cost import measure_cost
from maskloop.predictor import Predictor
from maskloop.training import TrainingConfig, train
from pipelines.files import write_atomically

ROWS: Mapping[str, Mapping[str, Any]] = {
    "BS": {"sgn": False, "hires": "none"},
    "BS+SGN": {"sgn": True, "hires": "none"},
    "BS+SGN+Fuse": {"sgn": True, "hires": "fuse"},
    "BS+SGN+Fuse+SGN": {"sgn": True, "hires": "fuse_sgn"},
    "BS+SGN+HSGN": {"sgn": True, "hires": "hsgn"},
}
BASE = "BS"
FORMAT = "maskloop ablation"
THRESHOLDS = (85, 90)
STOP = 0.90
"""Clicks after this IoU change neither NoC@85 nor NoC@90, so they are not made."""
COST_SIZE = (320, 480)
"""Rows and columns of the image that multiply-accumulates are counted for: those of published counts."""
PAPER_SAMPLES = 1_650_000
"""55 epochs of 30,000 samples: the official recipe for COCO+LVIS."""


@dataclass(frozen=True)
class Start:
    """What the rows start from; without anything, from random values."""

    imagenet: Path | None = None
    """Weights of the encoder."""
    checkpoint: Path | None = None
    """Folder of a checkpoint whose parameters a row takes wherever it has them: what is left to be learnt is
    the rows' own parts, so a small budget tells more about them."""

    @property
    def name(self) -> str:
        """Short, and other for other weights."""
        if self.checkpoint is not None:
            found = load_checkpoint(self.checkpoint)
            return f"{found.name}-{found.sha256[:8]}"
        return "ImageNet" if self.imagenet else "random values"


@dataclass(frozen=True)
class AblationConfig:
    """What all rows have in common; the sections of a recipe."""

    training: TrainingConfig
    model: ModelConfig
    """Its `sgn` and `hires` are set by the rows."""
    seeds: tuple[int, ...] = (0,)
    objects: int | None = None
    """Objects measured on, spread evenly over the dataset; None: all."""
    max_clicks: int = MAX_CLICKS

    def __post_init__(self) -> None:
        if not self.seeds:
            raise TrainingError("seeds is empty; an ablation needs at least one")


def read_ablation(recipe: Path) -> AblationConfig:
    """Read a recipe: sections `training`, `model`, `evaluation`, and a list of `seeds`.

    Raises:
        TrainingError: the file cannot be read, or a field is unknown or out of its range.
    """
    try:
        content = yaml.safe_load(recipe.read_text(encoding="utf-8"))
        # YAML has lists where the configuration has tuples
        training: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in content["training"].items()
        }
        return AblationConfig(
            training=TrainingConfig(**training),
            model=ModelConfig(**content.get("model", {})),
            seeds=tuple(int(seed) for seed in content["seeds"]),
            **content.get("evaluation", {}),
        )
    except OSError as error:
        raise TrainingError(f"cannot read the recipe {recipe}: {error.strerror}") from error
    except KeyError as error:
        raise TrainingError(f"the recipe {recipe} lacks the section {error}") from error
    except (TypeError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise TrainingError(f"the recipe {recipe} does not describe an ablation: {error}") from error


def ablate(
    corpus: Corpus,
    samples: Samples,
    out: Path,
    config: AblationConfig,
    dataset: str,
    start: Start = Start(),
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
        start: what the rows start from.
        device: of the training.
        progress: show progress bars.

    Returns:
        What `ablation.json` holds.
    """
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


# The table


def summarise(
    results: Mapping[str, Sequence[Report]], config: AblationConfig, images: int, dataset: str, start: str
) -> dict[str, Any]:
    """Figures of the rows that have a result for every seed so far."""
    seeds = config.seeds[: min(len(reports) for reports in results.values())]
    budget = {
        "steps": config.training.steps,
        "batch": config.training.batch,
        "samples": config.training.steps * config.training.batch,
        "size": config.training.size,
        "start": start,
        "images": images,
        "seeds": list(seeds),
    }
    objects = len(results[BASE][0].objects)
    return {
        "format": FORMAT,
        "version": 1,
        "dataset": dataset,
        "objects": objects,
        "max_clicks": config.max_clicks,
        "encoder": config.model.encoder,
        "cost_size": list(COST_SIZE),
        "budget": budget,
        "caveat": caveat(budget, objects),
        "rows": [_row(row, results, config) for row in ROWS],
    }


def caveat(budget: Mapping[str, Any], objects: int) -> str:
    """What figures of such a budget can and cannot show."""
    seeds = len(budget["seeds"])
    return (
        f"Each network started from {budget['start']} and saw {budget['samples']:,} samples"
        f" ({budget['steps']:,} steps of {budget['batch']}, views of {budget['size']} pixels); the paper's"
        f" recipe is about {PAPER_SAMPLES:,}. So this can show, at most, which parts help early, when those"
        " that a row adds have hardly been trained, not what they are worth at"
        f" convergence. The intervals tell the uncertainty from which {objects} objects were measured; that"
        f" of training is only hinted at by {seeds} seed{'s' if seeds > 1 else ''}. A difference whose"
        " interval holds 0 is no finding."
    )


def _row(row: str, results: Mapping[str, Sequence[Report]], config: AblationConfig) -> dict[str, Any]:
    reports = results[row]
    images = [item.image for item in reports[0].objects]
    figures: dict[str, Any] = {}
    for percent in THRESHOLDS:
        clicks, base = _clicks(reports, percent), _clicks(results[BASE], percent)
        per_seed = clicks.mean(axis=1)
        figures[f"noc{percent}"] = {
            "mean": float(clicks.mean()),
            "seeds": [float(value) for value in per_seed],
            "spread": float(per_seed.std(ddof=1)) if len(per_seed) > 1 else None,
            "interval": _ends(clicks.mean(axis=0), images),
        }
        if row != BASE:
            difference = (clicks - base).mean(axis=0)
            figures[f"noc{percent}"]["difference"] = float(difference.mean())
            figures[f"noc{percent}"]["difference_interval"] = _ends(difference, images)
    model = replace(config.model, **ROWS[row])
    cost = measure_cost(model, *COST_SIZE, repeats=0)
    return {
        "row": row,
        "model": model.to_dict(),
        "parameters": cost.parameters,
        "macs": cost.macs,
        "nof90": [report.failures(0.9) for report in reports],
        **figures,
    }


def _clicks(reports: Sequence[Report], percent: int) -> npt.NDArray[np.float64]:
    """Clicks to an IoU, (seeds, objects)."""
    return np.array(
        [
            [item.clicks_to(percent / 100) or report.max_clicks for item in report.objects]
            for report in reports
        ],
        dtype=np.float64,
    )


def _ends(values: npt.NDArray[np.float64], images: Sequence[str]) -> list[float]:
    """Ends of the 95 % bootstrap interval over images."""
    found = bootstrap(values, images)
    return [found.low, found.high]


def write(summary: Mapping[str, Any], out: Path) -> None:
    """Write `ablation.json` and `ablation.md`."""
    write_atomically(out / "ablation.json", (json.dumps(summary, indent=2) + "\n").encode())
    write_atomically(out / "ablation.md", ("\n".join(markdown(summary)) + "\n").encode())


def is_ablation(file: Path) -> bool:
    """Whether a file says that it is one."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def read(file: Path) -> dict[str, Any]:
    """Read an `ablation.json`."""
    if not is_ablation(file):
        raise EvaluationError(f"{file} is no ablation; `maskloop ablate` writes one")
    return dict(json.loads(file.read_text(encoding="utf-8")))


def markdown(summary: Mapping[str, Any]) -> Iterator[str]:
    """Table 2 with our figures, line by line."""
    budget = summary["budget"]
    yield f"# Ablation on {summary['dataset']}, {summary['objects']} objects"
    yield ""
    yield (
        f"Encoder {summary['encoder']}, {budget['samples']:,} samples a network from {budget['start']} on,"
        f" seeds {', '.join(map(str, budget['seeds']))}. Lower is better; in brackets the 95 % bootstrap"
        " interval over images; ± the standard deviation over seeds. MACs of one pass at"
        f" {COST_SIZE[0]} x {COST_SIZE[1]} with five clicks."
    )
    yield ""
    yield "| row | NoC@85 | NoC@90 | NoC@90 against BS | failures@90 | parameters | MACs |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for row in summary["rows"]:
        cells = [row["row"], measured(row["noc85"]), measured(row["noc90"]), difference(row["noc90"])]
        failures = " / ".join(map(str, row["nof90"]))
        yield f"| {' | '.join(cells)} | {failures} | {_cost(row)} |"
    yield ""
    yield summary["caveat"]


def _cost(row: Mapping[str, Any]) -> str:
    return f"{row['parameters'] / 1e6:.2f} M | {row['macs'] / 1e9:.2f} G"


def measured(figure: Mapping[str, Any]) -> str:
    """`5.20 ± 0.31 [4.80, 5.70]`."""
    low, high = figure["interval"]
    spread = "" if figure["spread"] is None else f" ± {figure['spread']:.2f}"
    return f"{figure['mean']:.2f}{spread} [{low:.2f}, {high:.2f}]"


def difference(figure: Mapping[str, Any]) -> str:
    """`-0.40 [-0.70, -0.10]`; a dash for the base row."""
    if "difference" not in figure:
        return "-"
    low, high = figure["difference_interval"]
    return f"{figure['difference']:+.2f} [{low:+.2f}, {high:+.2f}]"
