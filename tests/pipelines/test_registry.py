"""With a real MLflow, in a SQLite file."""

import json
import shutil

import pytest

from maskloop.checkpoint import load_checkpoint
from maskloop.errors import CheckpointError
from pipelines.errors import PromotionError, RegistryError
from pipelines.quality.retraining import DEFAULT, champion
from pipelines.registry import Registry
from pipelines.tracking import log_checkpoint, log_result, start_run


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """A migrated, empty database: making one takes seconds."""
    folder = tmp_path_factory.mktemp("mlflow")
    Registry(f"sqlite:///{folder}/mlflow.db").holder("champion")
    return folder / "mlflow.db"


@pytest.fixture
def registry(database, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MLflow keeps artifacts below the current folder
    (tmp_path / "mlflow.db").write_bytes(database.read_bytes())
    return Registry(f"sqlite:///{tmp_path}/mlflow.db")


def add(registry, checkpoint, **tags):
    run_id = start_run(registry.client, "test", tags)
    return registry.register(run_id, log_checkpoint(registry.client, run_id, checkpoint), tags)


def test_ensure_champion__first_checkpoint_becomes_version_1(registry, checkpoint):
    assert registry.holder("champion") is None
    champion = registry.ensure_champion(checkpoint)
    assert champion.number == 1
    assert champion.tags["sha256"] == load_checkpoint(checkpoint).sha256
    assert registry.holder("champion") == champion
    assert registry.ensure_champion(checkpoint) == champion, "and it stays"


def test_ensure_champion__interrupted_before_the_alias(registry, checkpoint):
    first = registry.ensure_champion(checkpoint)
    registry.client.delete_registered_model_alias("maskloop", "champion")
    assert registry.ensure_champion(checkpoint).number == first.number


def test_register__is_the_challenger_and_found_by_its_tag(registry, checkpoint):
    registry.ensure_champion(checkpoint)
    challenger = add(registry, checkpoint, dvc_lock_md5="abc")
    assert registry.holder("challenger").number == 2
    assert registry.find("dvc_lock_md5", "abc").number == challenger.number
    assert registry.find("dvc_lock_md5", "other") is None
    assert registry.holder("champion").number == 1


def test_promote_and_roll_back(registry, checkpoint):
    champion = registry.ensure_champion(checkpoint)
    challenger = add(registry, checkpoint)
    registry.promote(challenger, champion)
    assert registry.holder("champion").number == 2
    assert registry.holder("previous").number == 1
    registry.promote(challenger, champion)
    assert registry.holder("previous").number == 1, "promoting twice is promoting once"
    assert registry.roll_back().number == 1
    assert (registry.holder("champion").number, registry.holder("previous").number) == (1, 2)


def test_promote__champion_moved_meanwhile(registry, checkpoint):
    champion = registry.ensure_champion(checkpoint)
    first, second = add(registry, checkpoint), add(registry, checkpoint)
    registry.promote(first, champion)
    with pytest.raises(PromotionError, match="Version 3 was compared with version 1"):
        registry.promote(second, champion)
    assert registry.holder("champion").number == first.number


def test_roll_back__nothing_to_go_back_to(registry, checkpoint):
    registry.ensure_champion(checkpoint)
    with pytest.raises(RegistryError, match="no previous champion"):
        registry.roll_back()


def test_download__is_checked_against_its_digest(registry, checkpoint, tmp_path):
    champion = registry.ensure_champion(checkpoint)
    folder = registry.download(champion, tmp_path / "copy")
    assert load_checkpoint(folder).sha256 == champion.tags["sha256"]
    other = add(registry, checkpoint, sha256="0" * 64)
    with pytest.raises(CheckpointError):
        registry.download(other, tmp_path / "other")


def test_registry__mlflow_does_not_answer(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryError, match=r"http://127\.0\.0\.1:9.*Start it"):
        Registry("http://127.0.0.1:9").holder("champion")


def test_log_result__metrics_curve_params_and_files(registry, tmp_path):
    for name in ("reports", "data"):
        (tmp_path / name).mkdir()
    scores = {"challenger": {"noc85": 2.5, "noc90": 4.0}, "champion": {"noc85": 3.0, "noc90": 5.0}}
    curve = [
        {"clicks": clicks, "model": model, "miou": miou}
        for model, mious in (("challenger", (0.5, 0.75)), ("champion", (0.25, 0.5)))
        for clicks, miou in enumerate(mious, start=1)
    ]
    (tmp_path / "reports/metrics.json").write_text(json.dumps(scores))
    (tmp_path / "reports/noc_curve.json").write_text(json.dumps(curve))
    (tmp_path / "params.yaml").write_text("train: {steps: 5, shares: {sample: 1}}")
    (tmp_path / "dvc.lock").write_text("schema: '2.0'")
    (tmp_path / "data/snapshot.json").write_text("{}")
    run_id = start_run(registry.client, "test", {})
    log_result(registry.client, run_id, tmp_path)
    data = registry.client.get_run(run_id).data
    assert (data.metrics["noc85"], data.metrics["noc90"], data.metrics["champion_noc90"]) == (2.5, 4.0, 5.0)
    assert data.params == {"train.steps": "5", "train.shares.sample": "1"}
    history = registry.client.get_metric_history(run_id, "miou")
    assert sorted((point.step, point.value) for point in history) == [(1, 0.5), (2, 0.75)]
    files = {item.path for item in registry.client.list_artifacts(run_id)}
    assert files == {"dvc.lock", "params.yaml", "reports", "snapshot.json"}


def test_champion__reviews_masks_and_knows_the_snapshot_that_it_learnt_from(registry, checkpoint, tmp_path):
    shutil.copytree(checkpoint, tmp_path / DEFAULT)
    first = champion(registry, tmp_path)
    assert (first.version.split("-")[0], first.trained) == ("default", 0)
    registry.promote(add(registry, checkpoint, snapshot="0003"), None)
    served = champion(registry, tmp_path)
    assert (served.version, served.trained) == ("maskloop-v1", 3)
