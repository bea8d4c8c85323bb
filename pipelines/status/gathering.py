"""Gathering: every source is asked once; one that does not answer costs nothing but its facts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pandas as pd
import pyarrow as pa

from maskloop.errors import MaskloopError
from pipelines.clicks import CLICKS, Clicks, collect_clicks, join_clicks, open_source, read_clicks
from pipelines.data.shards import newest_masks, read_rows
from pipelines.data.snapshot import Snapshot, read_snapshot
from pipelines.data.tables import read_table
from pipelines.errors import SettingsError
from pipelines.label_studio.checks import Finding
from pipelines.label_studio.client import LabelStudio
from pipelines.label_studio.connection import find_project
from pipelines.promotion.registry import Registry
from pipelines.stack.catalog import WORK_POOL
from pipelines.stack.doctor import examine
from pipelines.stack.project import TITLE
from pipelines.stack.services import answers
from pipelines.status.facts import Collected, FlowRun, Models, Project, Runs, Status
from pipelines.status.sources import Sources
from pipelines.versioning import SNAPSHOT_BRANCH, branch_commit, masks_trained, open_commit

TIMEOUT = 5.0
RETRAINS = 20
MEASURED = 30
"""Versions whose figures are asked for."""
FLOW = "retrain"
FINDINGS = Path("data/findings")
TABLES = ("data/annotations", "data/findings")
_KEY = ["annotation_id", "region_id", "updated_at"]
_FINDING = pa.schema(
    [("annotation_id", pa.int64()), *((name, pa.string()) for name in (*_KEY[1:], "reason"))]
)

Fact = TypeVar("Fact")


def gather(sources: Sources, doctor: bool = True) -> Status:
    """Ask all sources; never raises because one of them is down.

    Args:
        sources: where to ask.
        doctor: examine the stack too, if there is one, which clicks once and takes some seconds.
    """
    silent: dict[str, str] = {}

    def ask(name: str, there: Any, look: Callable[[], Fact]) -> Fact | None:
        if not there:
            silent[name] = "its address is not known: start the stack, or set its variable"
            return None
        try:
            return look()
        except (MaskloopError, httpx.HTTPError, OSError) as error:
            silent[name] = str(error) or type(error).__name__
        return None

    found = ask("repository", True, lambda: read_collected(sources))
    collected, rows = found or (None, None)
    return Status(
        when=datetime.now(UTC),
        collected=collected,
        models=ask("MLflow", sources.mlflow, lambda: read_models(sources)),
        runs=ask("Prefect", sources.prefect_api, lambda: read_runs(sources)),
        project=ask("Label Studio", sources.label_studio, lambda: read_project(sources)),
        served=ask("backend", sources.backend, lambda: read_served(sources)),
        clicks=ask("journal", sources.journal, lambda: read_journal(sources, rows)),
        hints=tuple(ask("doctor", True, lambda: read_hints(sources)) or ())
        if doctor and sources.stack
        else (),
        silent=silent,
    )


def read_collected(sources: Sources) -> tuple[Collected, pd.DataFrame]:
    """The newest snapshot, and all its rows."""
    root = sources.root
    commit = branch_commit(root, SNAPSHOT_BRANCH)
    if not commit:  # nothing was collected by a retrain yet
        rows = read_rows(root, Snapshot()).to_pandas()
        return Collected(Snapshot().name, newest_masks(rows), 0), rows
    with open_commit(root, commit, TABLES) as checkout:
        snapshot = read_snapshot(checkout)
        rows = read_rows(checkout, snapshot).to_pandas()
        findings = read_table(checkout, FINDINGS, snapshot.findings, _FINDING).to_pandas()
    new = snapshot.masks - masks_trained(root)
    return Collected(snapshot.name, newest_masks(rows), new, _standing(findings, rows)), rows


def _standing(findings: pd.DataFrame, rows: pd.DataFrame) -> dict[str, int]:
    """Masks by the reason for which they are set aside; an annotation that was saved again is free of it."""
    newest = rows.groupby(["project_id", "annotation_id"])["updated_at"].transform("max")
    current = rows.loc[rows["updated_at"] == newest, _KEY].drop_duplicates()
    standing = findings.merge(current, on=_KEY).drop_duplicates([*_KEY, "reason"])
    return {str(reason): int(count) for reason, count in standing["reason"].value_counts().items()}


def read_models(sources: Sources) -> Models:
    if sources.mlflow.startswith("http") and not answers(f"{sources.mlflow}/health"):
        raise SettingsError(f"{sources.mlflow} does not answer: start MLflow, or set MLFLOW_TRACKING_URI.")
    registry = Registry(sources.mlflow, sources.model)
    versions = registry.versions()
    measured = {}
    for version in versions[-MEASURED:]:
        metrics = registry.run_metrics(version)
        if {"noc90", "champion_noc90"} <= set(metrics):
            measured[version.number] = (metrics["noc90"], metrics["champion_noc90"])
    return Models(tuple(versions), registry.standing(), measured)


def read_runs(sources: Sources) -> Runs:
    query = {"flows": {"name": {"any_": [FLOW]}}, "sort": "EXPECTED_START_TIME_DESC", "limit": RETRAINS}
    with _client(sources.prefect_api) as client:
        found = client.post("/flow_runs/filter", json=query).raise_for_status().json()
        workers = client.post(f"/work_pools/{WORK_POOL}/workers/filter", json={})
    online = workers.is_success and any(one["status"] == "ONLINE" for one in workers.json())
    return Runs(tuple(_flow_run(one) for one in found if one["state_type"] != "SCHEDULED"), online)


def _flow_run(answer: dict[str, Any]) -> FlowRun:
    state = answer["state"] or {"name": "Unknown"}
    start, end = (_time(answer.get(name)) for name in ("start_time", "end_time"))
    return FlowRun(str(answer["name"]), str(state["name"]), str(state.get("message") or ""), start, end)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def read_project(sources: Sources) -> Project:
    with LabelStudio(sources.label_studio, sources.token) as client:
        title = TITLE if sources.project is None else None
        project = find_project(client, sources.project, title)
    tasks, annotated = project["task_number"], project["num_tasks_with_annotations"]
    return Project(str(project["title"]), int(tasks or 0), int(annotated or 0))


def read_served(sources: Sources) -> str:
    with _client(sources.backend) as client:
        return str(client.get("/health").raise_for_status().json()["model_version"])


def read_journal(sources: Sources, rows: pd.DataFrame | None) -> Clicks:
    copies = sources.root / CLICKS
    collect_clicks(open_source(sources.journal), copies)
    if rows is None:
        rows = read_rows(sources.root, Snapshot()).to_pandas()
    return join_clicks(read_clicks(copies).entries, rows)


def read_hints(sources: Sources) -> list[Finding]:
    """What the doctor finds bad; services that are down are told as sources that do not answer."""
    if sources.stack is None:
        return []
    known = {"Label Studio", "MLflow", "Prefect", "backend"}
    return [one for one in examine(sources.stack) if not one.good and one.name not in known]


@contextmanager
def _client(url: str) -> Iterator[httpx.Client]:
    try:
        with httpx.Client(base_url=url, timeout=TIMEOUT, trust_env=False) as client:
            yield client
    except httpx.TransportError as error:
        raise SettingsError(f"{url} does not answer ({error}): start it, or correct its address.") from error
