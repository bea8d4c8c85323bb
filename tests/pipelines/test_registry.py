"""With a real MLflow, in a SQLite file."""

import json
import multiprocessing
import os
import shutil
import signal

import pytest

from maskloop.checkpoint import load_checkpoint
from maskloop.errors import CheckpointError
from pipelines.errors import PromotionError, RegistryError
from pipelines.promotion.registry import Registry
from pipelines.promotion.tracking import log_checkpoint, log_result, start_run
from pipelines.quality.retraining import DEFAULT, champion
from tests.pipelines.conftest import REPOSITORY


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


def test_promote_and_roll_back__a_second_call_changes_nothing(registry, checkpoint):
    champion = registry.ensure_champion(checkpoint)
    challenger = add(registry, checkpoint)
    done = registry.promote(challenger, champion, "fewer clicks", "somebody")
    assert (done.before, done.after, done.because, done.by) == (1, 2, "fewer clicks", "somebody")
    assert registry.holder("champion").tags["promoted"].endswith("promoted by somebody: fewer clicks")
    assert registry.holder("previous").number == 1
    before = registry.standing()
    assert registry.promote(challenger, champion) is None
    assert registry.standing() == before

    undone = registry.roll_back(because="masks leak")
    assert (undone.kind, undone.before, undone.after) == ("rollback", 2, 1)
    assert "masks leak" in registry.version(2).tags["rolled_back"]
    before = registry.standing()
    assert registry.roll_back() is None, "twice is once, not back again"
    assert registry.roll_back(to=1) is None
    assert registry.standing() == before
    assert (before.champion, before.since) == (1, undone.at)
    assert [change.kind for change in before.changes] == ["first", "promotion", "rollback"]


def test_promote__rolled_back_version_serves_again_only_by_force(registry, checkpoint):
    champion = registry.ensure_champion(checkpoint)
    challenger = add(registry, checkpoint)
    registry.promote(challenger, champion)
    registry.roll_back()
    with pytest.raises(PromotionError, match=r"Version 2 was rolled back.*maskloop promote 2 --force"):
        registry.promote(challenger, champion)
    assert registry.holder("champion").number == 1
    assert registry.promote(challenger, champion, force=True).forced
    assert "rolled_back" not in registry.holder("champion").tags
    assert registry.standing().rolled_back(2) is None


def test_roll_back__to_any_that_has_served(registry, checkpoint):
    champion = registry.ensure_champion(checkpoint)
    second, third, never = (add(registry, checkpoint) for _ in range(3))
    registry.promote(second, champion)
    registry.promote(third, second)
    assert registry.roll_back().after == 2
    assert registry.roll_back(to=1).after == 1, "further back by its number"
    with pytest.raises(RegistryError, match=r"Version 4 has never served.*maskloop promote 4"):
        registry.roll_back(to=never.number)
    with pytest.raises(RegistryError, match=r"Version 9 .* is not registered.*known are 1, 2, 3, 4"):
        registry.roll_back(to=9)
    fourth = add(registry, checkpoint)
    registry.promote(fourth, champion)
    assert registry.roll_back().after == 1, "over which it was promoted, not what served before that"


def test_roll_back__promoted_before_changes_were_written_down(registry, checkpoint):
    add(registry, checkpoint)
    add(registry, checkpoint)
    registry.client.set_registered_model_alias("maskloop", "previous", "1")
    registry.client.set_registered_model_alias("maskloop", "champion", "2")
    assert registry.standing().since == ""
    assert registry.roll_back().after == 1
    assert registry.roll_back() is None


def test_promote__champion_moved_meanwhile(registry, checkpoint):
    champion = registry.ensure_champion(checkpoint)
    first, second = add(registry, checkpoint), add(registry, checkpoint)
    registry.promote(first, champion)
    with pytest.raises(PromotionError, match="Version 3 was compared with version 1"):
        registry.promote(second, champion)
    assert registry.holder("champion").number == first.number


def test_serve__another_became_champion_at_the_last_moment(registry, checkpoint, monkeypatch):
    champion = registry.ensure_champion(checkpoint)
    challenger = add(registry, checkpoint)
    other = add(registry, checkpoint)
    write = registry.client.set_model_version_tag

    def write_while_another_promotes(*arguments):
        write(*arguments)
        Registry(registry.url).client.set_registered_model_alias("maskloop", "champion", str(other.number))

    monkeypatch.setattr(registry.client, "set_model_version_tag", write_while_another_promotes)
    with pytest.raises(PromotionError, match="Version 3 became champion while version 2"):
        registry.promote(challenger, champion)
    assert registry.holder("champion").number == other.number


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


WRITES = (
    "set_registered_model_tag",
    "set_model_version_tag",
    "delete_model_version_tag",
    "set_registered_model_alias",
)
STEPS = {
    # of a version that was rolled back once, so that every kind of write happens
    "promote": lambda registry: registry.promote(registry.version(2), registry.version(1), force=True),
    "roll_back": lambda registry: registry.roll_back(because="test"),
}


def die_at_write(url, step, number, afterwards):
    """Run a step, and end as by kill -9 just before, or just after, its write `number`."""
    registry = Registry(url)
    count = 0

    def dying(write):
        def call(*arguments):
            nonlocal count
            count += 1
            if count == number and not afterwards:
                os.kill(os.getpid(), signal.SIGKILL)
            write(*arguments)
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

        return call

    for name in WRITES:
        setattr(registry.client, name, dying(getattr(registry.client, name)))
    STEPS[step](registry)


@pytest.mark.parametrize(
    ("step", "back", "writes", "old", "new"),
    [("promote", "roll_back", 5, 1, 2), ("roll_back", "promote", 4, 2, 1)],
)
def test_change__killed_at_each_write_and_repeated(
    registry, checkpoint, monkeypatch, step, back, writes, old, new
):
    first = registry.ensure_champion(checkpoint)
    registry.promote(add(registry, checkpoint), first)
    if old == 1:
        registry.roll_back()
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    processes = multiprocessing.get_context("forkserver")  # imports MLflow once, and forks before it is used
    processes.set_forkserver_preload(["mlflow", "tests.pipelines.test_registry"])
    for number, afterwards in [*((number, False) for number in range(2, writes + 1)), (writes, True)]:
        begin = registry.standing()
        assert begin.champion == old
        process = processes.Process(target=die_at_write, args=(registry.url, step, number, afterwards))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        left = registry.standing()
        assert left.champion == (new if afterwards else old), f"killed at write {number}"
        assert left.changes[: len(begin.changes)] == begin.changes
        assert len(left.changes) == len(begin.changes) + afterwards
        STEPS[step](registry)
        done = registry.standing()
        assert (done.champion, len(done.changes)) == (new, len(begin.changes) + 1)
        assert STEPS[step](registry) is None
        assert registry.standing() == done
        STEPS[back](registry)


def test_champion__reviews_masks_and_knows_the_snapshot_that_it_learnt_from(registry, checkpoint, tmp_path):
    shutil.copytree(checkpoint, tmp_path / DEFAULT)
    first = champion(registry, tmp_path)
    assert (first.version.split("-")[0], first.trained) == ("default", 0)
    registry.promote(add(registry, checkpoint, snapshot="0003"), None)
    served = champion(registry, tmp_path)
    assert (served.version, served.trained) == ("maskloop-v1", 3)
