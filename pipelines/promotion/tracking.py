"""Tracking: a finished retrain as one run in MLflow.

Always through an explicit run id: MLflow's "active run" belongs to a thread, and flows move between threads.
"""

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pipelines.clicks import FIGURES
from pipelines.promotion.decisions import Record

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "maskloop"
DECISION = "decision"
"""Folder of the decision's files among the artifacts of a run."""
ARTIFACTS = ("dvc.lock", "params.yaml", "data/snapshot.json")
CHECKPOINT_FILES = ("model.safetensors", "config.json")


def start_run(client: "MlflowClient", name: str, tags: Mapping[str, str]) -> str:
    """A new run in our experiment; returns its id."""
    run = client.create_run(_experiment(client), run_name=name, tags=dict(tags))
    return str(run.info.run_id)


def log_checkpoint(client: "MlflowClient", run_id: str, checkpoint: Path) -> str:
    """Log the files of a checkpoint under `model/`; returns the address that a registry needs."""
    for file in CHECKPOINT_FILES:
        client.log_artifact(run_id, str(checkpoint / file), "model")
    return f"{client.get_run(run_id).info.artifact_uri}/model"


def log_result(client: "MlflowClient", run_id: str, root: Path) -> None:
    """Log what the stages left under `root`: parameters, metrics, the NoC curve, reports and the lock."""
    from mlflow.entities import Param

    params = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    scores = json.loads((root / "reports/metrics.json").read_text(encoding="utf-8"))
    curve = json.loads((root / "reports/noc_curve.json").read_text(encoding="utf-8"))
    client.log_batch(
        run_id,
        metrics=[*_score_metrics(scores), *_curve_metrics(curve), *_click_metrics(root / FIGURES)],
        params=[Param(name, str(value)) for name, value in _flat(params).items()],
    )
    client.log_artifacts(run_id, str(root / "reports"), "reports")
    for file in ARTIFACTS:
        client.log_artifact(run_id, str(root / file))


def log_decision(client: "MlflowClient", run_id: str, folder: Path, record: Record) -> str:
    """Log a decision's files, tags and metrics with the challenger's run, once; returns the run's address.

    The tags come last: a record that was cut off is written again.
    """
    from mlflow.entities import Metric, RunTag

    run = client.get_run(run_id)
    if run.data.tags.get("decision_id") != record.identity:
        client.log_artifacts(run_id, str(folder), DECISION)
        now = int(datetime.fromisoformat(record.when).timestamp() * 1000)
        known = run.data.metrics
        client.log_batch(
            run_id,
            metrics=[
                Metric(name, value, now, 0)
                for name, value in record.metrics().items()
                if known.get(name) != value
            ],
            tags=[RunTag(name, value) for name, value in record.tags().items()],
        )
    server = str(client.tracking_uri)
    if not server.startswith("http"):
        return ""
    return f"{server}/#/experiments/{run.info.experiment_id}/runs/{run_id}/artifacts/{DECISION}"


def _click_metrics(path: Path) -> list[Any]:
    """`real_…`: the clicks that people really made, where a journal is kept."""
    from mlflow.entities import Metric

    figures = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    now = int(time.time() * 1000)
    return [Metric(f"real_{name}", value, now, 0) for name, value in figures.items()]


def _experiment(client: "MlflowClient") -> str:
    known = client.get_experiment_by_name(EXPERIMENT)
    return str(known.experiment_id if known else client.create_experiment(EXPERIMENT))


def _score_metrics(scores: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """`noc90` is the challenger's, `champion_noc90` that of the champion on the same objects."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [
        Metric(_prefix(model) + name, float(value), now, 0)
        for model, values in scores.items()
        for name, value in values.items()
        if isinstance(value, int | float)
    ]


def _curve_metrics(curve: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Mean IoU with the number of clicks as the step."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [
        Metric(f"{_prefix(point['model'])}miou", float(point["miou"]), now, int(point["clicks"]))
        for point in curve
    ]


def _prefix(model: str) -> str:
    return "" if model == "challenger" else f"{model}_"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested parameters as `train.steps`."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
