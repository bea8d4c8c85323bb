"""The table of an ablation: figures of every row, as JSON and as Markdown."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maskloop.errors import EvaluationError
from maskloop.evaluation import Report
from maskloop.intervals import bootstrap
from maskloop.model.cost import measure_cost
from pipelines.ablation.config import BASE, ROWS, AblationConfig
from pipelines.files import write_atomically

FORMAT = "maskloop ablation"
THRESHOLDS = (85, 90)
COST_SIZE = (320, 480)
"""Rows and columns of the image that multiply-accumulates are counted for: those of published counts."""
PAPER_SAMPLES = 1_650_000
"""55 epochs of 30,000 samples: the official recipe for COCO+LVIS."""


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
