"""A real MLflow server, whose alias moves under the feet of a champion that follows it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_backend.champion import Champion
from ml_backend.registry import Registry
from pipelines.stack.up import Stack
from tests.ml_backend.conftest import save_random_checkpoint

pytestmark = pytest.mark.stack


@pytest.fixture
def mlflow_url(stack: Stack) -> str:
    return stack.config.mlflow_url


class Registrar:
    """Registers checkpoints as the pipeline does."""

    def __init__(self, url: str, model: str) -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(url)
        self.model = model
        self.client.create_registered_model(model)
        experiment = self.client.create_experiment(model)
        self.run = self.client.create_run(experiment).info

    def register(self, directory: Path, sha256: str | None) -> str:
        path = f"model-{directory.name}"
        self.client.log_artifacts(self.run.run_id, str(directory), path)
        version = self.client.create_model_version(
            self.model,
            source=f"{self.run.artifact_uri}/{path}",
            run_id=self.run.run_id,
            tags={} if sha256 is None else {"sha256": sha256},
        )
        return version.version

    def promote(self, version: str) -> None:
        self.client.set_registered_model_alias(self.model, "champion", version)


@pytest.fixture
def registrar(mlflow_url, request) -> Registrar:
    return Registrar(mlflow_url, request.node.name)


@pytest.fixture
def champion(mlflow_url, registrar, checkpoint) -> Iterator[Champion]:
    champion = Champion(checkpoint, Registry(mlflow_url, registrar.model), poll_seconds=0.2)
    yield champion
    champion.stop()


def test_champion__follows_the_alias(champion, registrar, tmp_path):
    first, second = (save_random_checkpoint(tmp_path / name, seed) for name, seed in (("a", 1), ("b", 2)))
    champion.start()
    default = champion.served
    assert default.version.startswith("random-")  # no version holds the alias yet

    registrar.promote(registrar.register(tmp_path / "a", first))
    wait_until(lambda: champion.served.version == "maskloop-v1")
    assert champion.served.predictor.sha256 == first

    registrar.promote(registrar.register(tmp_path / "b", second))
    wait_until(lambda: champion.served.version == "maskloop-v2")
    assert champion.served.predictor.sha256 == second

    registrar.promote("1")
    wait_until(lambda: champion.served.version == "maskloop-v1")


def test_champion__keeps_what_it_serves_when_the_alias_is_removed(champion, registrar, tmp_path):
    sha256 = save_random_checkpoint(tmp_path / "a", seed=1)
    registrar.promote(registrar.register(tmp_path / "a", sha256))
    champion.poll()
    registrar.client.delete_registered_model_alias(registrar.model, "champion")
    champion.poll()
    assert champion.served.version == "maskloop-v1"


def test_champion__weights_of_another_digest(champion, registrar, tmp_path, caplog):
    save_random_checkpoint(tmp_path / "a", seed=1)
    registrar.promote(registrar.register(tmp_path / "a", "0" * 64))
    champion.poll()
    champion.poll()
    assert champion.served.version.startswith("random-")
    (message,) = [record.message for record in caplog.records if record.name == "ml_backend.champion"]
    assert "Version 1 is not served" in message
    assert "0" * 64 in message


def test_champion__no_digest(champion, registrar, tmp_path, caplog):
    save_random_checkpoint(tmp_path / "a", seed=1)
    registrar.promote(registrar.register(tmp_path / "a", None))
    champion.poll()
    assert champion.served.version.startswith("random-")
    assert "no sha256 tag" in caplog.text


def test_champion__constant_model_is_not_served_and_the_next_is(champion, registrar, tmp_path, caplog):
    broken = save_random_checkpoint(tmp_path / "a", seed=1, bias=1000.0)
    registrar.promote(registrar.register(tmp_path / "a", broken))
    champion.poll()
    assert champion.served.version.startswith("random-")
    assert "golden click" in caplog.text

    good = save_random_checkpoint(tmp_path / "b", seed=2)
    registrar.promote(registrar.register(tmp_path / "b", good))
    champion.poll()
    assert champion.served.version == "maskloop-v2"


def test_champion__file_missing(champion, registrar, tmp_path, caplog):
    sha256 = save_random_checkpoint(tmp_path / "a", seed=1)
    (tmp_path / "a" / "config.json").unlink()
    registrar.promote(registrar.register(tmp_path / "a", sha256))
    champion.poll()
    assert champion.served.version.startswith("random-")
    assert "HTTP 404 for config.json of version 1" in caplog.text


def wait_until(condition, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
