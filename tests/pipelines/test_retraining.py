"""The steps of a retrain with real git, DVC and MLflow; the stages' results are written by hand."""

import json
import shutil

import pytest
import torch
import yaml

from maskloop.checkpoint import load_checkpoint, save_checkpoint
from maskloop.model import CSFPN, ModelConfig
from pipelines import retraining
from pipelines.errors import PromotionError, SettingsError, SnapshotError
from pipelines.promotion.latency import Latency
from pipelines.promotion.registry import Registry
from pipelines.versioning import open_worktree
from tests.pipelines.conftest import git
from tests.pipelines.reports import report

CHAMPION_CLICKS = [4, 6, 8, 10, 12, 5, 7, 9, 11, 13] * 2


@pytest.fixture
def registry(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Registry(f"sqlite:///{tmp_path}/mlflow.db")


def write_result(root):
    """What the stages leave behind."""
    torch.manual_seed(1)
    save_checkpoint(CSFPN(ModelConfig()), root / "models/candidate", "candidate", {})
    (root / "reports").mkdir(exist_ok=True)
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


def write_reports(root, challenger, champion=CHAMPION_CLICKS, ratio=1.0):
    """What the stage `evaluate` leaves behind, of one object an image."""
    for prefix in ("", "general_"):
        report(champion, "old").write(root / f"reports/{prefix}champion.json")
        report(champion if prefix else challenger, "new").write(root / f"reports/{prefix}challenger.json")
    Latency(50 * ratio, 50, ratio, 60).write(root / "reports/latency.json")


@pytest.fixture
def pair(repository, registry, checkpoint):
    """A worktree with results, the champion and a challenger, and the pages that were shown."""
    champion = registry.ensure_champion(checkpoint)
    with open_worktree(repository, "one", print) as worktree:
        write_result(worktree.path)
        write_reports(worktree.path, [clicks - 2 for clicks in CHAMPION_CLICKS])
        challenger = retraining.register(worktree, registry, "test")
        yield worktree, challenger, champion, []


def judge(registry, pair):
    worktree, challenger, champion, shown = pair

    def show(record, page):
        shown.append((record, page))

    return retraining.judge(worktree, registry, challenger, champion, "somebody", show)


def test_judge__promoted_and_recorded_once(registry, pair):
    worktree, challenger, _, shown = pair
    decision = judge(registry, pair)
    assert decision.promote
    assert registry.holder("champion").number == challenger.number
    stored = json.loads((worktree.path / "reports/decision.json").read_text())
    assert (stored["outcome"], stored["by"], stored["snapshot"]) == ("promoted", "somebody", "0000")
    assert stored["challenger"]["sha256"] == challenger.tags["sha256"]
    assert stored["commit"] == challenger.tags["git_sha"]
    assert stored["figures"]["difference_noc90"] == -2
    assert stored["rules"]["latency"] == 1.2
    assert git(worktree.path, "status", "--short", "reports/decision.json") == "", "it is committed"

    run = registry.client.get_run(challenger.run_id)
    assert run.data.tags["decision"] == "promoted"
    assert run.data.tags["decision_by"] == "somebody"
    assert run.data.metrics["difference_noc90"] == -2
    assert run.data.metrics["latency_ratio"] == 1
    files = [item.path for item in registry.client.list_artifacts(challenger.run_id, "decision")]
    assert sorted(file.removeprefix("decision/") for file in files) == [
        *("clicks_of_each_object.png", "decision.json", "decision.md", "differences_and_their_intervals.png"),
        *("mean_iou_by_clicks.png", "milliseconds_a_click.png", "objects_by_clicks.png"),
    ]
    record, page = shown[0]
    assert record.key == "decision-v2-against-v1"
    assert "## Version 2: promoted" in page
    assert "| clicks to IoU 0.90 | 8.50 | 6.50 | -2.00 | -2.00 to -2.00 (95 %) |  |" in page
    assert "| milliseconds a click | 50 | 50 | 1.00 times | | 1.2 times |" in page
    assert page.count("](data:image/png;base64,") == 5

    assert judge(registry, pair).promote
    again, _ = shown[1]
    assert again.identity == record.identity
    assert len(registry.client.get_metric_history(challenger.run_id, "difference_noc90")) == 1
    kept = registry.client.get_run(challenger.run_id).data.tags["decision_when"]
    assert kept == record.when, "the first record stays"


def test_judge__not_improved(registry, pair):
    worktree, challenger, champion, shown = pair
    write_reports(worktree.path, CHAMPION_CLICKS)
    decision = judge(registry, pair)
    assert not decision.promote
    assert registry.holder("champion").number == champion.number
    assert registry.find("decision", decision.reason).number == challenger.number
    assert shown[0][0].outcome == "not improved"
    assert "## Version 2: not improved" in shown[0][1]


def test_judge__better_but_slower(registry, pair):
    worktree, _, champion, _ = pair
    write_reports(worktree.path, [clicks - 2 for clicks in CHAMPION_CLICKS], ratio=1.5)
    assert "1.50 times as long" in judge(registry, pair).reason
    assert registry.holder("champion").number == champion.number


def test_judge__champion_moved_meanwhile(registry, pair):
    worktree, challenger, champion, shown = pair
    other = registry.register(champion.run_id, champion.source, {"sha256": "0" * 64})
    registry.promote(other, champion)
    for _ in range(2):
        with pytest.raises(PromotionError, match="Version 2 was compared with version 1"):
            judge(registry, pair)
    assert registry.holder("champion").number == other.number
    assert [record.outcome for record, _ in shown] == ["refused", "refused"]
    assert shown[0][0].identity == shown[1][0].identity
    tags = registry.client.get_run(challenger.run_id).data.tags
    assert tags["decision"] == "refused"
    assert tags["decision_reason"].startswith("refused: Another version became champion meanwhile.")
    assert json.loads((worktree.path / "reports/decision.json").read_text())["promote"] is False


def test_judge__champion_moves_at_the_last_moment(registry, pair, monkeypatch):
    """After the check, before the alias is written: the record is corrected."""
    _, challenger, champion, shown = pair
    other = registry.register(champion.run_id, champion.source, {"sha256": "0" * 64})
    promote = registry.promote

    def overtaken(*versions, **said):
        promote(other, champion)
        promote(*versions, **said)

    monkeypatch.setattr(registry, "promote", overtaken)
    with pytest.raises(PromotionError):
        judge(registry, pair)
    assert [record.outcome for record, _ in shown] == ["promoted", "refused"]
    assert registry.client.get_run(challenger.run_id).data.tags["decision"] == "refused"


def test_judge__latency_was_not_measured(registry, pair):
    worktree, *_ = pair
    (worktree.path / "reports/latency.json").unlink()
    with pytest.raises(SnapshotError, match="dvc repro evaluate"):
        judge(registry, pair)
