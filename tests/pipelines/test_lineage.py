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
from pipelines.data.collect import collect
from pipelines.data.snapshot import read_snapshot
from pipelines.errors import RegistryError, SnapshotError
from pipelines.promotion.lineage import LABELLED, to_json, to_text, trace
from pipelines.stages import prepare
from pipelines.versioning import open_worktree
from tests.pipelines.conftest import git
from tests.pipelines.fake_project import FakeProject, png
from tests.pipelines.test_registry import add, database, registry
from tests.pipelines.test_retraining import write_result

__all__ = ["database", "registry"]


@pytest.fixture
def project():
    """Two images, of which the second is measured on: of an image alone, its digest decides."""
    project = FakeProject()
    tested = [int(sha256(png(seed)).hexdigest()[:8], 16) % 100 < 20 for seed in range(100)]
    seeds = (tested.index(False), tested.index(True))
    project.images = {name: png(seed) for name, seed in zip(project.images, seeds, strict=True)}
    return project


def relabel(project, when):
    """Somebody saves the first task's annotations again, with another label and one region less."""
    project.tasks[0]["updated_at"] = when
    for annotation in project.tasks[0]["annotations"]:
        annotation["updated_at"] = when
        annotation["result"] = annotation["result"][1:]
        for result in annotation["result"]:
            result["value"].update({"brushlabels": ["Nucleus"]} if "brushlabels" in result["value"] else {})


def retrain(repository, registry, project):
    """One round without training: what was collected, twice, is prepared, and a candidate registered."""
    with open_worktree(repository, "one", print) as worktree:
        first = collect(project, worktree.path, read_snapshot(worktree.path)).snapshot
        relabel(project, "2027-01-01T00:00:00.000000Z")
        snapshot = collect(project, worktree.path, first).snapshot
        assert snapshot.masks > first.masks
        worktree.commit_snapshot(snapshot)
        champion = retraining.place_champion(worktree, registry)
        prepare.main(worktree.path)
        write_result(worktree.path)
        started = {"start": load_checkpoint(worktree.path / "checkpoints/default").sha256}
        save_checkpoint(CSFPN(ModelConfig()), worktree.path / "models/candidate", "candidate", started)
        (worktree.path / "dvc.lock").unlink()
        stages = {"prepare": {"cmd": "exit 1", "outs": ["data/prepared"]}}
        (worktree.path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
        worktree.dvc("commit", "--force", "prepare")
        worktree.commit("Retrain", [*retraining.RESULTS, "dvc.yaml"])
        challenger = retraining.register(worktree, registry, "test")
        registry.tag(challenger, "decision", "1.00 fewer clicks to IoU 0.90")
        registry.promote(registry.version(challenger.number), champion)
        prepared = pd.read_parquet(worktree.path / "data/prepared/train.parquet")
    return prepared[prepared["source"] == LABELLED]


def test_trace__names_the_masks_that_were_trained_on(repository, registry, checkpoint, project, tmp_path):
    shutil.copytree(checkpoint, repository / "checkpoints/default")
    text = (repository / "params.yaml").read_text().replace("rendered: 150", "rendered: 4")
    (repository / "params.yaml").write_text(text)
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "Checkpoint")
    prepared = retrain(repository, registry, project)

    found = trace(registry, repository, 2)
    assert 0 < len(found.masks) == sum(map(len, prepared["objects"])) == found.learnt < found.collected
    assert set(found.masks["task_id"]) == {project.tasks[0]["id"]}, "the other image is measured on"
    assert set(found.masks["updated_at"]) == {"2027-01-01T00:00:00.000000Z"}, "as saved last"
    assert found.branches == ("retrain/one",)
    assert git(repository, "worktree", "list").count("\n") == 0, "nothing is left behind"
    screen = "\n".join(to_text(found))
    for told in (
        "version 2: challenger, champion",
        "1.00 fewer clicks",
        "promoted by",
        "Nucleus",
        "annotators 1",
    ):
        assert told in screen
    assert "version 2, snapshot 0002, NoC@90 3.00, fine-tuned from version 1" in screen
    content = json.loads(json.dumps(to_json(found)))
    assert {mask["region_id"] for mask in content["masks"]} == set(found.masks["region_id"])

    with pytest.raises(RegistryError, match="Version 9"):
        trace(registry, repository, 9)
    bare = tmp_path / "bare"
    git(tmp_path, "init", "--quiet", str(bare))
    with pytest.raises(SnapshotError, match="git fetch"):
        trace(registry, bare, 2)
    shutil.rmtree(repository / ".dvc/cache")
    shutil.rmtree(repository / ".maskloop/storage")
    with pytest.raises(SnapshotError, match="dvc push"):
        trace(registry, repository, 2)
    registry.tag(registry.version(2), "dvc_lock_md5", "0")
    with pytest.raises(SnapshotError, match=r"another dvc\.lock"):
        trace(registry, repository, 2)


def test_trace__ancestors_and_what_is_fine_tuned_after_a_rollback(repository, registry, checkpoint, tmp_path):
    shutil.copytree(checkpoint, repository / "checkpoints/default")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "Checkpoint")
    serving = registry.ensure_champion(repository / "checkpoints/default")
    for number in (2, 3):
        torch.manual_seed(number)
        folder = tmp_path / str(number)
        started = {"start": serving.tags["sha256"]}
        digest = save_checkpoint(CSFPN(ModelConfig()), folder, "candidate", started)
        version = add(registry, folder, sha256=digest)
        registry.promote(version, serving)
        serving = version
    ancestors = trace(registry, repository, 3).ancestors
    chain = [(one.version.number, one.parent, one.aliases) for one in ancestors]
    assert chain == [(3, 2, ("challenger", "champion")), (2, 1, ("previous",)), (1, None, ())]

    registry.roll_back(to=1)
    with open_worktree(repository, "after", print) as worktree:
        assert retraining.place_champion(worktree, registry).number == 1
        assert yaml.safe_load((worktree.path / "params.yaml").read_text())["train"]["start"] == (
            "checkpoints/default"
        )
    result = CliRunner().invoke(
        app, ["lineage", "1", "--root", str(repository), "--mlflow", registry.url], catch_exceptions=False
    )
    assert "trained outside this loop" in result.output
    assert "rolled back from version 3 to 1" in result.output
