"""`dvc repro` on what the repository brings, as a newcomer runs it, with next to no training."""

import json
import shutil
import subprocess
import sys

import pytest
import yaml

from maskloop.checkpoint import digest
from pipelines import retraining
from pipelines.commands import environment
from pipelines.promotion.registry import Registry
from pipelines.versioning import Worktree
from tests.pipelines.conftest import REPOSITORY, git
from tests.pipelines.test_stages import SMALL

pytestmark = pytest.mark.stack

STAGES = ("prepare", "train", "evaluate")
UP_TO_DATE = "Data and pipelines are up to date."


def dvc(folder, *arguments):
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def fresh_clone(tmp_path, checkpoint):
    """The last commit, with small parameters and a checkpoint that has learnt nothing."""
    root = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(REPOSITORY), str(root))
    params = yaml.safe_load((root / "params.yaml").read_text())
    small = {stage: values | SMALL.get(stage, {}) for stage, values in params.items()}
    (root / "params.yaml").write_text(yaml.safe_dump(small))
    shutil.rmtree(root / "checkpoints/default", ignore_errors=True)
    shutil.copytree(checkpoint, root / "checkpoints/default")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "Make it small")
    return root


def test_repro__runs_once_and_another_clone_gets_the_same(fresh_clone, tmp_path, monkeypatch):
    first = dvc(fresh_clone, "repro")
    assert [f"Running stage '{stage}'" in first for stage in STAGES] == [True] * 3
    assert dvc(fresh_clone, "repro").strip().endswith(UP_TO_DATE)
    git(fresh_clone, "add", ".")
    assert git(fresh_clone, "status", "--short").split() == [
        *("A", "dvc.lock", "A", "reports/click_histogram.png", "A", "reports/latency.json"),
        *("A", "reports/log.csv", "A", "reports/metrics.json", "A", "reports/noc_curve.json"),
        *("A", "reports/noc_curve.png", "A", "reports/objects.csv", "A", "reports/prepared.json"),
        *("A", "reports/training.json"),
    ], "what DVC stores must not be in git"
    git(fresh_clone, "commit", "--quiet", "-m", "Retrain")
    dvc(fresh_clone, "push")

    monkeypatch.chdir(tmp_path)  # MLflow keeps artifacts below the current folder
    registry = Registry(f"sqlite:///{tmp_path}/mlflow.db")
    first = registry.ensure_champion(fresh_clone / "checkpoints/default")
    version = retraining.register(Worktree(fresh_clone, fresh_clone, "main", print), registry, "test")
    registry.promote(version, first)

    other = tmp_path / "other"
    git(tmp_path, "clone", "--quiet", str(fresh_clone), str(other))
    git(other, "checkout", "--quiet", registry.holder("champion").tags["git_sha"])
    dvc(other, "remote", "modify", "--local", "storage", "url", str(fresh_clone / ".maskloop/storage"))
    dvc(other, "pull")
    assert dvc(other, "repro").strip().endswith(UP_TO_DATE)
    assert digest(other / "models/candidate/model.safetensors") == version.tags["sha256"]
    assert dvc(other, "metrics", "diff", "HEAD") == ""

    (other / "models/candidate/model.safetensors").unlink()
    forced = dvc(other, "repro", "--force")
    assert [f"Running stage '{stage}'" in forced for stage in STAGES] == [True] * 3, "all is made again"
    assert digest(other / "models/candidate/model.safetensors") == version.tags["sha256"]
    assert scores(other) == scores(fresh_clone)


def scores(root):
    """What was measured, without the times that it took."""
    measured = json.loads((root / "reports/metrics.json").read_text())
    return {
        model: {name: value for name, value in values.items() if "seconds" not in name}
        for model, values in measured.items()
    }
