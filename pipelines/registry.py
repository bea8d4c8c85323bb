"""Registry: the versions of the model, and the aliases that say which one serves.

Aliases: `challenger` newest registered, `champion` served, `previous` served before. `champion` is written
last, so an interrupted promotion leaves the old champion serving, and can be done again.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskloop.checkpoint import load_checkpoint
from pipelines.errors import PromotionError, RegistryError
from pipelines.tracking import log_checkpoint, start_run

if TYPE_CHECKING:
    pass

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
# MLflow's own defaults wait for minutes before they say that nobody answers
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
}


@dataclass(frozen=True)
class Version:
    """A registered checkpoint. `tags` hold sha256, git_sha, dvc_lock_md5, snapshot, noc85, noc90, reason."""

    number: int
    run_id: str
    source: str
    tags: Mapping[str, str]

    @property
    def served_as(self) -> str:
        """The model version that the backend's answers carry while this one is served."""
        return f"maskloop-v{self.number}"


class Registry:
    """One registered model at one MLflow. Every failure is a `RegistryError`."""

    def __init__(self, url: str, model: str = "maskloop") -> None:
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        self.url = url
        self.model = model
        self.client: MlflowClient = MlflowClient(tracking_uri=url, registry_uri=url)

    def holder(self, alias: str) -> Version | None:
        """The version that holds an alias."""
        with self.answers():
            models = self.client.search_registered_models(f"name = '{self.model}'")
            number = models[0].aliases.get(alias) if models else None
            return _version(self.client.get_model_version(self.model, number)) if number else None

    def version(self, number: int) -> Version:
        """The version of this number."""
        with self.answers():
            return _version(self.client.get_model_version(self.model, str(number)))

    def find(self, tag: str, value: str) -> Version | None:
        """The newest version with this tag."""
        with self.answers():
            found = self.client.search_model_versions(f"name = '{self.model}'")
        versions = sorted(map(_version, found), key=lambda version: version.number, reverse=True)
        return next((version for version in versions if version.tags.get(tag) == value), None)

    def register(self, run_id: str, source: str, tags: Mapping[str, str]) -> Version:
        """A new version, as the challenger."""
        with self.answers():
            if not self.client.search_registered_models(f"name = '{self.model}'"):
                self.client.create_registered_model(self.model)
            made = self.client.create_model_version(self.model, source, run_id, tags=dict(tags))
            self.client.set_registered_model_alias(self.model, CHALLENGER, made.version)
        return _version(made)

    def ensure_champion(self, checkpoint: Path) -> Version:
        """The champion; where nobody is, `checkpoint` is registered and becomes it."""
        champion = self.holder(CHAMPION)
        if champion:
            return champion
        loaded = load_checkpoint(checkpoint)
        version = self.find("sha256", loaded.sha256)
        if version is None:
            tags = {"sha256": loaded.sha256, "reason": "first checkpoint"}
            with self.answers():
                run_id = start_run(self.client, loaded.name, tags)
                source = log_checkpoint(self.client, run_id, checkpoint)
                self.client.set_terminated(run_id)
            version = self.register(run_id, source, tags)
        self._set(CHAMPION, version)
        return version

    def download(self, version: Version, folder: Path) -> Path:
        """Fetch the checkpoint of a version into `folder`, checked against its digest."""
        from mlflow.artifacts import download_artifacts

        with self.answers():
            download_artifacts(artifact_uri=version.source, dst_path=str(folder), tracking_uri=self.url)
        found = next(folder.rglob("config.json")).parent
        load_checkpoint(found, version.tags.get("sha256"))
        return found

    def promote(self, challenger: Version, compared_with: Version | None) -> None:
        """Let `challenger` serve, if the champion is still the one that it was compared with.

        Raises:
            PromotionError: another version became champion meanwhile.
        """
        champion = self.holder(CHAMPION)
        if champion and champion.number == challenger.number:
            return
        if (champion and champion.number) != (compared_with and compared_with.number):
            raise PromotionError(
                f"Version {challenger.number} was compared with {_name(compared_with)}, but the champion is "
                f"{_name(champion)} by now: run the flow again."
            )
        if champion:
            self._set(PREVIOUS, champion)
        self._set(CHAMPION, challenger)

    def roll_back(self) -> Version:
        """Let the previous champion serve again; the one that served becomes `previous`.

        Raises:
            RegistryError: there is no previous champion.
        """
        champion, previous = self.holder(CHAMPION), self.holder(PREVIOUS)
        if previous is None:
            raise RegistryError(f"Model {self.model!r} has no previous champion: nothing to roll back to.")
        self._set(CHAMPION, previous)
        if champion:
            self._set(PREVIOUS, champion)
        return previous

    def tag(self, version: Version, name: str, value: str) -> None:
        with self.answers():
            self.client.set_model_version_tag(self.model, str(version.number), name, value)

    def _set(self, alias: str, version: Version) -> None:
        with self.answers():
            self.client.set_registered_model_alias(self.model, alias, str(version.number))

    @contextmanager
    def answers(self) -> Iterator[None]:
        """Turn what MLflow raises into `RegistryError`."""
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            raise RegistryError(
                f"MLflow at {self.url}: {error}. Start it, or correct MLFLOW_TRACKING_URI; "
                "what was trained is kept, so the flow can be run again."
            ) from error


def _version(entity: Any) -> Version:
    return Version(int(entity.version), str(entity.run_id or ""), str(entity.source), dict(entity.tags or {}))


def _name(version: Version | None) -> str:
    return f"version {version.number}" if version else "no champion"
