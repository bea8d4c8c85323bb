"""`dvc repro` on what the repository brings, as a newcomer runs it, with next to no training."""

import shutil
import subprocess
import sys

import pytest
import yaml

from pipelines.commands import environment
from tests.pipelines.conftest import REPOSITORY, git
from tests.pipelines.test_stages import SMALL

pytestmark = pytest.mark.stack

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
    small = {stage: values | SMALL[stage] for stage, values in params.items()}
    (root / "params.yaml").write_text(yaml.safe_dump(small))
    shutil.rmtree(root / "checkpoints/default", ignore_errors=True)
    shutil.copytree(checkpoint, root / "checkpoints/default")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "Make it small")
    return root


def test_repro__runs_once_and_another_clone_gets_the_same(fresh_clone, tmp_path):
    first = dvc(fresh_clone, "repro")
    assert [f"Running stage '{stage}'" in first for stage in ("prepare", "train", "evaluate")] == [True] * 3
    assert dvc(fresh_clone, "repro").strip().endswith(UP_TO_DATE)
    git(fresh_clone, "add", ".")
    assert git(fresh_clone, "status", "--short").split() == [
        *("A", "dvc.lock", "A", "reports/click_histogram.png", "A", "reports/latency.json"),
        *("A", "reports/log.csv", "A", "reports/metrics.json", "A", "reports/noc_curve.json"),
        *("A", "reports/noc_curve.png", "A", "reports/objects.csv", "A", "reports/training.json"),
    ], "what DVC stores must not be in git"
    git(fresh_clone, "commit", "--quiet", "-m", "Retrain")
    dvc(fresh_clone, "push")

    other = tmp_path / "other"
    git(tmp_path, "clone", "--quiet", str(fresh_clone), str(other))
    dvc(other, "remote", "modify", "--local", "storage", "url", str(fresh_clone / ".maskloop/storage"))
    dvc(other, "pull")
    assert dvc(other, "repro").strip().endswith(UP_TO_DATE)
    assert (other / "models/candidate/model.safetensors").is_file()
    assert dvc(other, "metrics", "diff", "HEAD") == ""
