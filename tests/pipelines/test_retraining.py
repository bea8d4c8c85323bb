"""The steps of a retrain with real git, DVC and MLflow; the stages' results are written by hand."""

import json
import shutil

import pytest
import torch
import yaml

from maskloop.checkpoint import load_checkpoint, save_checkpoint
from maskloop.model import CSFPN, ModelConfig
from pipelines import retraining
from pipelines.errors import SettingsError
from pipelines.gate import Decision
from pipelines.registry import Registry
from pipelines.versioning import open_worktree
from tests.pipelines.conftest import git

FIGURES = {
    f"{model}_{name}": 2.0 for model in ("challenger", "champion") for name in ("noc85", "noc90", "nof90")
}


@pytest.fixture
def registry(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Registry(f"sqlite:///{tmp_path}/mlflow.db")


def write_result(root):
    """What the stages leave behind."""
    torch.manual_seed(1)
    save_checkpoint(CSFPN(ModelConfig()), root / "models/candidate", "candidate", {})
    (root / "reports").mkdir()
    scores = {model: {"noc85": 2.0, "noc90": 3.0} for model in ("challenger", "champion")}
    (root / "reports/metrics.json").write_text(json.dumps(scores))
    (root / "reports/noc_curve.json").write_text("[]")
    (root / "dvc.lock").write_text("schema: '2.0'\n")


def test_place_champion_and_register(repository, registry, checkpoint):
    shutil.copytree(checkpoint, repository / "checkpoints/default")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "Checkpoint")
    with open_worktree(repository, "one", print) as worktree:
        first = retraining.place_champion(worktree, registry)
        assert first.number == 1
        assert git(worktree.path, "status", "--short") == "", "the first checkpoint is where it was"

        write_result(worktree.path)
        second = retraining.register(worktree, registry, "test")
        assert second.tags["sha256"] == load_checkpoint(worktree.path / "models/candidate").sha256
        assert (second.tags["noc90"], second.tags["snapshot"], second.tags["reason"]) == (
            "3.0000",
            "0000",
            "test",
        )
        assert retraining.register(worktree, registry, "again").number == second.number

        registry.promote(second, first)
        assert retraining.place_champion(worktree, registry).number == 2
        start = yaml.safe_load((worktree.path / "params.yaml").read_text())["train"]["start"]
        assert start == "models/champion"
        assert load_checkpoint(worktree.path / start).sha256 == second.tags["sha256"]
        assert (worktree.path / "models/champion.dvc").is_file()


def test_set_start__changes_one_line_and_keeps_the_comments(repository):
    params = repository / "params.yaml"
    before = params.read_text().splitlines()
    retraining.set_start(params, "models/champion")
    changed = [
        (old, new) for old, new in zip(before, params.read_text().splitlines(), strict=True) if old != new
    ]
    assert len(changed) == 1
    assert changed[0][1] == changed[0][0].replace("checkpoints/default", "models/champion")


def test_set_start__line_is_missing(tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text("train: {start: checkpoints/default}\n")
    with pytest.raises(SettingsError, match="has 0 lines"):
        retraining.set_start(params, "models/champion")


def test_compare__reads_what_evaluate_wrote(repository):
    with open_worktree(repository, "one", print) as worktree:
        (worktree.path / "reports").mkdir()
        (worktree.path / "reports/objects.csv").write_text(
            "image_id,challenger_noc85,challenger_noc90,challenger_failed90,"
            "champion_noc85,champion_noc90,champion_failed90\n"
            "a,1,2,False,2,4,False\nb,3,4,False,20,20,True\n"
        )
        decision = retraining.compare(worktree)
        text = retraining.report(decision, *[registered(number) for number in (2, 1)], worktree)
    assert decision.promote
    assert (decision.figures["challenger_noc90"], decision.figures["champion_noc90"]) == (3, 12)
    assert decision.figures["champion_nof90"] == 1
    assert "## Version 2: promoted" in text
    assert "| NoC@90 | 12.00 | 3.00 |" in text


def registered(number):
    from pipelines.registry import Version

    return Version(number, "", "", {})


def test_report__kept_back(repository):
    decision = Decision(False, "not improved: because", FIGURES | {"objects": 3.0})
    with open_worktree(repository, "one", print) as worktree:
        text = retraining.report(decision, registered(2), registered(1), worktree)
    assert "## Version 2: kept back" in text
    assert "not improved: because" in text
