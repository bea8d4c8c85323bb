"""From a version back to its masks, with real git, DVC and MLflow; the training is left out."""

import json
import shutil
from hashlib import sha256

import pandas as pd
import pytest
import torch
import yaml
from typer.testing import CliRunner

from maskloop.checkpoint import load_checkpoint, save_checkpoint
from maskloop.model import CSFPN, ModelConfig
from pipelines import retraining
from pipelines.cli import app
from pipelines.collect import collect
from pipelines.errors import RegistryError, SnapshotError
from pipelines.lineage import LABELLED, to_json, to_text, trace
from pipelines.snapshot import read_snapshot
from pipelines.stages import prepare
from pipelines.versioning import open_worktree
from tests.pipelines.conftest import git
from tests.pipelines.fake_project import FakeProject, png
from tests.pipelines.test_registry import database, registry
from tests.pipelines.test_retraining import write_result

__all__ = ["database", "registry"]


def retrain(repository, registry, name, project):
    """One round without training: what is collected is prepared, and a candidate registered and promoted."""
    with open_worktree(repository, name, print) as worktree:
        snapshot = collect(project, worktree.path, read_snapshot(worktree.path)).snapshot
        worktree.commit_snapshot(snapshot)
        champion = retraining.place_champion(worktree, registry)
        start = yaml.safe_load((worktree.path / "params.yaml").read_text())["train"]["start"]
        prepare.main(worktree.path)
        write_result(worktree.path)
        torch.manual_seed(champion.number)
        started = {"start": load_checkpoint(worktree.path / start).sha256}
        save_checkpoint(CSFPN(ModelConfig()), worktree.path / "models/candidate", "candidate", started)
        (worktree.path / "dvc.lock").unlink()
        stages = {"prepare": {"cmd": f"echo {name}", "outs": ["data/prepared"]}}
        (worktree.path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
        worktree.dvc("commit", "--force", "prepare")
        worktree.commit("Retrain", [*retraining.RESULTS, "dvc.yaml"])
        challenger = retraining.register(worktree, registry, "test")
        registry.tag(challenger, "decision", "1.00 fewer clicks to IoU 0.90")
        registry.promote(registry.version(challenger.number), champion)
        prepared = pd.read_parquet(worktree.path / "data/prepared/train.parquet")
    return prepared[prepared["source"] == LABELLED]


@pytest.fixture
def project():
    """Two images, of which one is measured on: of an image alone, its digest decides."""
    project = FakeProject()
    tested = [int(sha256(png(seed)).hexdigest()[:8], 16) % 100 < 20 for seed in range(100)]
    seeds = (tested.index(False), tested.index(True))
    project.images = {name: png(seed) for name, seed in zip(project.images, seeds, strict=True)}
    return project


def test_trace__names_the_masks_that_prepare_trained_on(repository, registry, checkpoint, project, tmp_path):
    shutil.copytree(checkpoint, repository / "checkpoints/default")
    text = (repository / "params.yaml").read_text().replace("rendered: 150", "rendered: 4")
    (repository / "params.yaml").write_text(text)
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "Checkpoint")
    first = retrain(repository, registry, "one", project)
    changed = max(project.tasks, key=lambda task: task["updated_at"])
    for annotation in changed["annotations"]:
        annotation["updated_at"] = changed["updated_at"] = "2027-01-01T00:00:00.000000Z"
    second = retrain(repository, registry, "two", project)

    for number, prepared in ((2, first), (3, second)):
        found = trace(registry, repository, number)
        masks = found.masks
        assert 0 < len(masks) == sum(map(len, prepared["objects"])) < found.collected
        assert found.branches == (f"retrain/{'one' if number == 2 else 'two'}",)
    assert not trace(registry, repository, 2).masks["updated_at"].str.startswith("2027").any()
    assert git(repository, "worktree", "list").count("\n") == 0, "nothing is left behind"

    chain = [(one.version.number, one.parent, one.aliases) for one in found.ancestors]
    assert chain == [(3, 2, ("challenger", "champion")), (2, 1, ("previous",)), (1, None, ())]
    screen = "\n".join(to_text(found))
    assert "version 3: challenger, champion" in screen
    assert "1.00 fewer clicks" in screen
    assert "version 2, snapshot 0001, NoC@90 3.00, fine-tuned from version 1" in screen
    content = json.loads(json.dumps(to_json(found)))
    assert {mask["region_id"] for mask in content["masks"]} == set(masks["region_id"])
    assert content["ancestors"][0]["fine_tuned_from"] == 2

    first = trace(registry, repository, 1)
    assert first.masks is None
    assert "trained outside this loop" in "\n".join(to_text(first))
    result = CliRunner().invoke(
        app, ["lineage", "2", "--json", "--root", str(repository), "--mlflow", registry.url]
    )
    assert json.loads(result.output)["snapshot"]["name"] == "0001"

    with pytest.raises(RegistryError, match="Version 9"):
        trace(registry, repository, 9)
    registry.tag(registry.version(3), "dvc_lock_md5", "0")
    with pytest.raises(SnapshotError, match=r"another dvc\.lock"):
        trace(registry, repository, 3)
    bare = tmp_path / "bare"
    git(tmp_path, "init", "--quiet", str(bare))
    with pytest.raises(SnapshotError, match="git fetch"):
        trace(registry, bare, 2)
    shutil.rmtree(repository / ".dvc/cache")
    shutil.rmtree(repository / ".maskloop/storage")
    with pytest.raises(SnapshotError, match="dvc push"):
        trace(registry, repository, 2)
