"""Evaluate: candidate and champion label the same objects by simulated clicks; writes `reports/`.

The champion is measured again each time, as the test set grows: an old figure would be of other objects.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from maskloop.datasets import Samples, open_dataset
from maskloop.evaluation import Report, evaluate
from maskloop.predictor import Predictor
from pipelines.promotion.latency import measure_latency
from pipelines.report.comparison import Comparison
from pipelines.report.plots import curve, histogram, save_png
from pipelines.stages.params import read_params
from pipelines.stages.train import CANDIDATE, REPORTS

TEST_SET = Path("data/prepared/test.parquet")
GENERAL_SET = Path("data/prepared/general.parquet")
LABELLED = "labelled"
CHALLENGER, CHAMPION = "challenger", "champion"
GENERAL = "general_"
"""Begins the names of result files of the general benchmark."""
LATENCY = "latency.json"
GOOD = 0.9
"""IoU at which the general benchmark counts: no more clicks are made there."""


def main(root: Path = Path()) -> None:
    params = read_params(root, "evaluate")
    checkpoints = {CHAMPION: root / read_params(root, "train")["start"], CHALLENGER: root / CANDIDATE}
    predictors = {model: Predictor.load(checkpoint) for model, checkpoint in checkpoints.items()}
    samples, general = test_objects(root, params), general_objects(root, params)
    reports, kept = {}, {}
    for model, predictor in predictors.items():
        print(f"{model}: {checkpoints[model]}, {len(samples)} objects, {len(general)} general ones")
        reports[model] = evaluate(
            predictor, samples, params["max_clicks"], batch=params["batch"], dataset=TEST_SET.stem
        )
        kept[model] = evaluate(
            predictor,
            general,
            params["max_clicks"],
            batch=params["batch"],
            stop=GOOD,
            dataset=GENERAL_SET.stem,
        )
    write_reports(root / REPORTS, reports, kept)
    latency = measure_latency(predictors[CHALLENGER], predictors[CHAMPION], samples, params["latency_clicks"])
    latency.write(root / REPORTS / LATENCY)


def test_objects(root: Path, params: Mapping[str, Any]) -> Samples:
    """What both models are measured on: labelled objects first, as far as they go."""
    objects = _objects_of(root / TEST_SET, params["per_image"])
    objects["seed"] = objects["source"] != LABELLED
    return _spread(root / TEST_SET, objects, ["seed", "turn"], params["objects"])


def general_objects(root: Path, params: Mapping[str, Any]) -> Samples:
    """What must not get worse. Where `prepare` wrote no general set, these are the seed's test images."""
    file = root / GENERAL_SET if (root / GENERAL_SET).exists() else root / TEST_SET
    objects = _objects_of(file, params["per_image"])
    if file.name == TEST_SET.name:
        objects = objects[objects["source"] != LABELLED]
    return _spread(file, objects, ["turn"], params["general_objects"])


def _objects_of(file: Path, per_image: int) -> pd.DataFrame:
    """One row an object: source, and its turn, the how manieth of its image it is; `per_image` at most."""
    rows = pd.read_parquet(file, columns=["source", "objects"])
    rows = rows.loc[rows.index.repeat(rows["objects"].str.len()), ["source"]]
    rows["turn"] = rows.groupby(level=0).cumcount()
    rows = rows.reset_index(drop=True)  # now the place among the samples of the file
    return rows[rows["turn"] < per_image]


def _spread(file: Path, objects: pd.DataFrame, first: list[str], count: int) -> Samples:
    """`count` of them; one of every image before the second of any, as intervals are over images."""
    chosen = objects.sort_values(first, kind="stable").index[:count]
    return open_dataset("parquet", file).take(sorted(chosen))  # in order, so each image is decoded once


def write_reports(folder: Path, reports: Mapping[str, Report], general: Mapping[str, Report]) -> None:
    """Write what the gate, MLflow and a person read, for the models by name."""
    folder.mkdir(parents=True, exist_ok=True)
    scores = {
        model: _scores(report) | {"general_noc90": general[model].noc(GOOD)}
        for model, report in reports.items()
    }
    (folder / "metrics.json").write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    points = _curve(reports)
    (folder / "noc_curve.json").write_text(json.dumps(points, indent=2) + "\n", encoding="utf-8")
    _objects(reports).to_csv(folder / "objects.csv", index=False)
    for model, report in reports.items():
        report.write(folder / f"{model}.json")
        general[model].write(folder / f"{GENERAL}{model}.json")
    _plot(reports, folder)


def _scores(report: Report) -> dict[str, Any]:
    """The figures that are one number each: what DVC and MLflow draw over time.

    Without times, which another machine would measure differently.
    """
    return {
        name: value
        for name, value in report.to_dict().items()
        if isinstance(value, int | float) and not name.startswith("seconds")
    }


def _curve(reports: Mapping[str, Report]) -> list[dict[str, Any]]:
    """Mean IoU after each number of clicks."""
    return [
        {"clicks": clicks, "model": model, "miou": miou}
        for model, report in reports.items()
        for clicks, miou in enumerate(report.iou_at_click(), start=1)
    ]


def _objects(reports: Mapping[str, Report]) -> pd.DataFrame:
    """One row an object: the clicks that each model took."""
    columns: dict[str, Any] = {}
    for model, report in reports.items():
        frame = report.to_frame()
        columns |= {name: frame[name] for name in ("image_id", "category", "source")}
        columns |= {f"{model}_{name}": frame[name] for name in ("noc85", "noc90", "failed90")}
    return pd.DataFrame(columns)


def _plot(reports: Mapping[str, Report], folder: Path) -> None:
    """The curve of mean IoU and the histogram of clicks, both models in one."""
    comparison = Comparison(tuple(replace(report, model=model) for model, report in reports.items()))
    save_png(curve(comparison), folder / "noc_curve.png")
    save_png(histogram(comparison), folder / "click_histogram.png")


if __name__ == "__main__":
    main()
