"""Evaluate: candidate and champion label the same test objects by simulated clicks; writes `reports/`.

The champion is measured again each time, as the test set grows: an old figure would be of other objects.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from maskloop.datasets import open_dataset
from maskloop.evaluation import Report, evaluate
from maskloop.predictor import Predictor
from pipelines.report.comparison import Comparison
from pipelines.report.plots import curve, histogram, save_png
from pipelines.stages.params import read_params
from pipelines.stages.train import CANDIDATE, REPORTS

TEST_SET = Path("data/prepared/test.parquet")
CHALLENGER, CHAMPION = "challenger", "champion"


def main(root: Path = Path()) -> None:
    params = read_params(root, "evaluate")
    checkpoints = {CHAMPION: root / read_params(root, "train")["start"], CHALLENGER: root / CANDIDATE}
    samples = open_dataset("parquet", root / TEST_SET).spread(params["objects"])
    reports = {}
    for model, checkpoint in checkpoints.items():
        print(f"{model}: {checkpoint}, {len(samples)} objects")
        reports[model] = evaluate(
            Predictor.load(checkpoint), samples, params["max_clicks"], dataset=TEST_SET.stem
        )
    write_reports(root / REPORTS, reports)


def write_reports(folder: Path, reports: dict[str, Report]) -> None:
    """Write what the gate, MLflow and a person read, for the models in `reports` by name."""
    folder.mkdir(parents=True, exist_ok=True)
    scores = {model: _scores(report) for model, report in reports.items()}
    (folder / "metrics.json").write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    points = _curve(reports)
    (folder / "noc_curve.json").write_text(json.dumps(points, indent=2) + "\n", encoding="utf-8")
    _objects(reports).to_csv(folder / "objects.csv", index=False)
    for model, report in reports.items():
        report.write(folder / f"{model}.json")
    _plot(reports, folder)


def _scores(report: Report) -> dict[str, Any]:
    """The figures that are one number each: what DVC and MLflow draw over time."""
    return {name: value for name, value in report.to_dict().items() if isinstance(value, int | float)}


def _curve(reports: dict[str, Report]) -> list[dict[str, Any]]:
    """Mean IoU after each number of clicks."""
    return [
        {"clicks": clicks, "model": model, "miou": miou}
        for model, report in reports.items()
        for clicks, miou in enumerate(report.iou_at_click(), start=1)
    ]


def _objects(reports: dict[str, Report]) -> pd.DataFrame:
    """One row an object: the clicks that each model took."""
    columns: dict[str, Any] = {}
    for model, report in reports.items():
        frame = report.to_frame()
        columns |= {"image_id": frame["image_id"], "category": frame["category"]}
        columns |= {f"{model}_{name}": frame[name] for name in ("noc85", "noc90", "failed90")}
    return pd.DataFrame(columns)


def _plot(reports: dict[str, Report], folder: Path) -> None:
    """The curve of mean IoU and the histogram of clicks, both models in one."""
    comparison = Comparison(tuple(replace(report, model=model) for model, report in reports.items()))
    save_png(curve(comparison), folder / "noc_curve.png")
    save_png(histogram(comparison), folder / "click_histogram.png")


if __name__ == "__main__":
    main()
