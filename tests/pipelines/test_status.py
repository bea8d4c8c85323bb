"""Status: real git, DVC, MLflow and a journal; Prefect and Label Studio are asked in `tests/stack`."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipelines.clicks import join_clicks
from pipelines.clicks.joining import ROW_COLUMNS
from pipelines.data.collect import collect
from pipelines.data.shards import newest_masks, read_rows
from pipelines.data.snapshot import read_snapshot
from pipelines.data.tables import write_table
from pipelines.promotion.changes import Change, Standing
from pipelines.promotion.version import Version
from pipelines.status import Sources, Status, gather, to_text, write_status
from pipelines.status.facts import Collected, FlowRun, Models, Project, Runs
from pipelines.status.gathering import FINDINGS
from pipelines.versioning import SNAPSHOT_BRANCH, TRAINED_BRANCH, branch_commit, move_branch, open_worktree
from tests.journal_entries import NOON, entry
from tests.pipelines.fake_project import FakeProject
from tests.pipelines.test_clicks import write
from tests.pipelines.test_registry import add, database, registry

__all__ = ["database", "registry"]

DEAD = "http://127.0.0.1:9"


def screen(status):
    return "\n".join(to_text(status))


def test_gather__nothing_answers(repository):
    sources = Sources(repository, mlflow=DEAD, prefect_api=f"{DEAD}/api", label_studio=DEAD, token="a" * 40)
    status = gather(sources)
    assert set(status.silent) == {"MLflow", "Prefect", "Label Studio", "backend", "journal"}
    text = screen(status)
    assert "0 masks of 0 annotations" in text
    assert f"MLflow: {DEAD} does not answer" in text
    assert "backend: its address is not known" in text
    assert "nothing waits for a person" in text


def test_gather__no_repository(tmp_path):
    status = gather(Sources(tmp_path / "nowhere"))
    assert "repository" in status.silent
    assert status.collected is None
    assert screen(status).count("unknown") >= 4


def test_gather__data_registry_and_clicks(repository, registry, checkpoint, tmp_path):
    project = FakeProject()
    with open_worktree(repository, "one", print) as worktree:
        snapshot = collect(project, worktree.path, read_snapshot(worktree.path)).snapshot
        aside = newest_masks(read_rows(worktree.path, snapshot).to_pandas()).head(1).assign(reason="sliver")
        table = pa.Table.from_pandas(aside, preserve_index=False)
        snapshot = replace(snapshot, findings=write_table(worktree.path, FINDINGS, snapshot.name, table))
        worktree.commit_snapshot(snapshot)
    first = registry.ensure_champion(checkpoint)
    challenger = add(registry, checkpoint, decision="not improved: 5.00 against 4.00", noc90="5.0000")
    registry.promote(challenger, first, "for a look", force=True)
    registry.roll_back(because="no better")
    add(registry, checkpoint, decision="not improved: 6.00 against 4.00")
    write(tmp_path / "journal", entry(0), entry(1, region="other"))

    status = gather(Sources(repository, mlflow=registry.url, journal=str(tmp_path / "journal")))
    assert set(status.silent) == {"Prefect", "Label Studio", "backend"}
    assert (len(status.collected.masks), status.collected.new) == (snapshot.masks, snapshot.masks)
    text = screen(status)
    assert "version 1, serving since" in text
    assert "rolled back from version 2 to 1 by" in text
    assert "before it version 2, NoC@90 5.00, rolled back" in text
    assert "1 masks are set aside (sliver 1)" in text
    assert "version 3 was kept back, not improved: 6.00 against 4.00" in text
    assert len(status.clicks.requests) == 2

    move_branch(repository, TRAINED_BRANCH, branch_commit(repository, SNAPSHOT_BRANCH), "")
    assert gather(Sources(repository)).collected.new == 0


def some_status(**values):
    times = [NOON + timedelta(hours=3 * number) for number in range(40)]
    masks = pd.DataFrame(
        {
            "project_id": 3,
            "task_id": range(40),
            "annotation_id": range(40),
            "updated_at": [time.isoformat() for time in times],
        }
    )
    clicks = join_clicks([], pd.DataFrame(columns=ROW_COLUMNS))
    draw = np.random.default_rng(0)
    shown = pd.DataFrame(
        {
            "time": times,
            "clicks": draw.integers(1, 8, 40),
            "model": "maskloop-v1",
            "label": "Cell",
            "edited": False,
        }
    )
    hostile = "<script>alert(1)</script> & sons"
    versions = (
        Version(1, "a", "", {"reason": "first checkpoint"}, NOON.timestamp()),
        Version(2, "b", "", {"noc90": "4.2", "decision": hostile}, NOON.timestamp() + 9e4),
        Version(
            3, "c", "", {"noc90": "4.6", "decision": "not improved: 4.6 against 4.2"}, NOON.timestamp() + 2e5
        ),
    )
    at = (NOON + timedelta(days=1)).isoformat(), (NOON + timedelta(days=3)).isoformat()
    changes = (
        Change("first", 0, 1, "first checkpoint", "somebody", NOON.isoformat()),
        Change("promotion", 1, 2, hostile, "somebody", at[0]),
        Change("rollback", 2, 1, "masks leak", "somebody", at[1]),
    )
    facts = {
        "when": datetime(2026, 11, 30, 9, tzinfo=UTC),
        "collected": Collected("0004", masks, 7, {"empty": 2, "sliver": 1}),
        "models": Models(
            versions,
            Standing({"champion": 1, "previous": 2, "challenger": 3}, changes),
            {2: (4.2, 4.9), 3: (4.6, 4.2)},
        ),
        "runs": Runs((FlowRun("brave-owl", "Completed", hostile, NOON, NOON + timedelta(minutes=9)),), True),
        "project": Project("demo", 100, 44),
        "served": "maskloop-v1",
        "clicks": type(clicks)(shown, clicks.sessions, clicks.requests, 0),
        "silent": {"Prefect": f"{DEAD} does not answer"},
    }
    return Status(**facts | values)


def test_write_status__one_page_that_loads_nothing_and_escapes(tmp_path):
    write_status(some_status(), tmp_path / "status.html")
    page = (tmp_path / "status.html").read_text()
    assert page.count("<svg") == 3
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"""(?:src|href)=["'](?!#|data:)""", page)
    for told in (
        "version 1",
        "40",
        "7 new since",
        "44 of 100",
        "3 masks are set aside",
        "rolled back",
        "v2",
        "↩ v1",
    ):
        assert told in page


def test_write_status__nothing_is_known(tmp_path):
    write_status(Status(datetime(2026, 11, 30, 9, tzinfo=UTC)), tmp_path / "status.html")
    page = (tmp_path / "status.html").read_text()
    assert page.count("<strong>unknown</strong>") == 4
    assert "<svg" not in page


def run(state, message="it went wrong\nat line 3"):
    return FlowRun("brave-owl", state, message, None, None)


@pytest.mark.parametrize(
    ("values", "waits"),
    [
        ({}, ["3 masks are set aside (empty 2, sliver 1)", "version 3 was kept back"]),
        (
            {"collected": None, "served": "maskloop-v2"},
            ["version 3 was", "the backend serves maskloop-v2, the champion is"],
        ),
        (
            {
                "collected": None,
                "models": None,
                "runs": Runs((run("Crashed"), run("Completed"), run("Failed")), True),
            },
            ["retrain brave-owl crashed (it went wrong): what it collected"],
        ),
        (
            {"collected": None, "models": None, "runs": Runs((run("Running"),), False)},
            ["retrain brave-owl is running, and no worker is online"],
        ),
        ({"collected": None, "models": None, "runs": Runs((run("Running"),), True)}, []),
        (
            {
                "collected": None,
                "models": Models((Version(4, "", "", {"decision": "fewer"}),), Standing({"challenger": 4})),
            },
            ["version 4 may serve, but its retrain was cut off"],
        ),
    ],
)
def test_waiting(values, waits):
    found = some_status(**values).waiting()
    assert len(found) == len(waits)
    for line, beginning in zip(found, waits, strict=True):
        assert line.startswith(beginning)


def test_find__environment_then_the_stack(tmp_path):
    assert Sources.find(tmp_path, tmp_path, {}).mlflow == ""
    ports = {"label_studio": 1, "mlflow": 2345, "prefect": 3, "backend": 4}
    (tmp_path / "ports.json").write_text(json.dumps(ports))
    found = Sources.find(tmp_path, tmp_path, {"PREFECT_API_URL": "http://elsewhere/api"})
    assert found.mlflow == "http://127.0.0.1:2345"
    assert found.prefect_api == "http://elsewhere/api"
    assert found.journal == str(tmp_path / "journal")
