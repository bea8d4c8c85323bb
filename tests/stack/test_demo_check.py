"""The demo without hands, as `make demo-check` runs it, with a shorter training."""

import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from pipelines.stack.config import REPOSITORY
from tests.pipelines.conftest import git

PATIENCE = 2700
"""Seconds until the demo counts as hung."""

pytestmark = [
    pytest.mark.stack,
    pytest.mark.xdist_group("demo"),
    pytest.mark.timeout(PATIENCE + 60),
]

MASKLOOP = Path(sys.executable).with_name("maskloop")
SHORTER = {"steps": 220, "general_objects": 8}
"""What takes most of the time, less than in params.yaml; with 150 steps the gain was certain by a hair."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def repository(data: Path) -> Path:
    """A clone in the place where the demo would make its own."""
    clone = data / "repository"
    git(data, "clone", "--quiet", str(REPOSITORY), str(clone))
    params = clone / "params.yaml"
    text = params.read_text(encoding="utf-8")
    for name, value in SHORTER.items():
        text, found = re.subn(rf"(?m)^  {name}: \d+", f"  {name}: {value}", text)
        assert found == 1
    params.write_text(text, encoding="utf-8")
    git(clone, "commit", "--quiet", "--all", "--message", "Train for a shorter time")
    return clone


@pytest.fixture(scope="module")
def printed(data: Path, repository: Path) -> str:
    """What the demo printed, once it is over."""
    command = [MASKLOOP, "demo", "--headless", "--data", str(data)]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_demo__table(printed: str) -> None:
    rows = dict(re.findall(r"^(\S.*?) {2,}(\S.*)$", printed, re.MULTILINE))

    assert rows["champion before"] == "version 1"
    assert rows["champion after"] == "version 2"
    assert rows["served by the backend"] == "maskloop-v2"
    assert int(rows["clicks used"]) >= int(rows["objects labelled"]) >= 12


def test_demo__started_by_the_deployment(printed: str) -> None:
    assert "prefect deployment run retrain/retrain" in printed


def test_demo__run_in_mlflow(printed: str, data: Path) -> None:
    client = MlflowClient(f"sqlite:///{data}/mlflow/mlflow.db")
    champion = client.get_model_version_by_alias("maskloop", "champion")
    metrics = client.get_run(champion.run_id).data.metrics

    assert int(champion.version) == 2
    assert 1 <= metrics["noc85"] <= metrics["noc90"] < metrics["champion_noc90"] <= 20
    curve = client.get_metric_history(champion.run_id, "miou")
    assert [point.step for point in curve] == list(range(1, 21))


def test_demo__leaves_no_process(printed: str, data: Path) -> None:
    running = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]

    assert [command for command in running if str(data) in command] == []


def test_demo__leaves_the_repository_alone(printed: str) -> None:
    assert git(REPOSITORY, "branch", "--list", "retrain/*") == ""
