"""Registry: the versions of the model, and the aliases that say which one serves.

Aliases: `challenger` newest registered, `champion` served, `previous` served before. `champion` is written
last, so a promotion or rollback that is cut off leaves the old champion serving, and can be done again. What
it was promoted over is read from the changes beside this module; the alias `previous` is for people.
"""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from maskloop.checkpoint import load_checkpoint
from pipelines.errors import PromotionError, RegistryError
from pipelines.promotion.changes import Change, Standing, encode
from pipelines.promotion.tracking import log_checkpoint, start_run
from pipelines.promotion.version import Version

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
# MLflow's own defaults wait for minutes before they say that nobody answers
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
}


class Registry:
    """One registered model at one MLflow. Every failure is a `RegistryError`."""

    def __init__(self, url: str, model: str = "maskloop") -> None:
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        self.url = url
        self.model = model
        self.client: MlflowClient = MlflowClient(tracking_uri=url, registry_uri=url)

    def standing(self) -> Standing:
        """Aliases and changes of this moment; empty where nothing is registered."""
        with self.answers():
            models = self.client.search_registered_models(f"name = '{self.model}'")
        if not models:
            return Standing()
        aliases = {alias: int(number) for alias, number in models[0].aliases.items()}
        return Standing.read(aliases, models[0].tags)

    def holder(self, alias: str) -> Version | None:
        """The version that holds an alias."""
        number = self.standing().aliases.get(alias)
        return self.version(number) if number else None

    def version(self, number: int) -> Version:
        """Raises RegistryError when there is no such version."""
        known = {version.number: version for version in self.versions()}
        if number not in known:
            raise RegistryError(
                f"Version {number} of {self.model!r} is not registered at {self.url}; "
                f"{_listed(known)}. `maskloop status` shows them."
            )
        return known[number]

    def versions(self) -> list[Version]:
        """All versions, oldest first."""
        found: list[Any] = []
        page: str | None = None
        with self.answers():
            while page is None or page:
                answer = self.client.search_model_versions(f"name = '{self.model}'", page_token=page)
                found += answer
                page = answer.token or ""
        return sorted(map(_version, found), key=lambda version: version.number)

    def find(self, tag: str, value: str) -> Version | None:
        """The newest version with this tag."""
        return next((one for one in reversed(self.versions()) if one.tags.get(tag) == value), None)

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
        standing = self.standing()
        if standing.champion:
            return self.version(standing.champion)
        loaded = load_checkpoint(checkpoint)
        version = self.find("sha256", loaded.sha256)
        if version is None:
            tags = {"sha256": loaded.sha256, "reason": "first checkpoint"}
            with self.answers():
                run_id = start_run(self.client, loaded.name, tags)
                source = log_checkpoint(self.client, run_id, checkpoint)
                self.client.set_terminated(run_id)
            version = self.register(run_id, source, tags)
        self._serve(Change("first", 0, version.number, "first checkpoint"))
        return self.version(version.number)

    def download(self, version: Version, folder: Path) -> Path:
        """Fetch the checkpoint of a version into `folder`, checked against its digest."""
        from mlflow.artifacts import download_artifacts

        with self.answers():
            download_artifacts(artifact_uri=version.source, dst_path=str(folder), tracking_uri=self.url)
        found = next(folder.rglob("config.json")).parent
        load_checkpoint(found, version.tags.get("sha256"))
        return found

    def description(self, version: Version) -> dict[str, Any]:
        """The `config.json` of a version's checkpoint, which says how it was trained."""
        from mlflow.artifacts import download_artifacts

        source = f"{version.source}/config.json"
        with self.answers(), tempfile.TemporaryDirectory() as folder:
            file = download_artifacts(artifact_uri=source, dst_path=folder, tracking_uri=self.url)
            return dict(json.loads(Path(file).read_text(encoding="utf-8")))

    def run_tags(self, version: Version) -> dict[str, str]:
        """Tags of the run that made a version, among them those of the decision."""
        with self.answers():
            return dict(self.client.get_run(version.run_id).data.tags) if version.run_id else {}

    def run_metrics(self, version: Version) -> dict[str, float]:
        """What was measured of a version, and of the champion beside it."""
        with self.answers():
            return dict(self.client.get_run(version.run_id).data.metrics) if version.run_id else {}

    def promote(
        self,
        challenger: Version,
        compared_with: Version | None,
        because: str = "",
        by: str = "",
        force: bool = False,
    ) -> Change | None:
        """Let `challenger` serve, if the champion is still the one that it was compared with.

        Args:
            challenger: serves afterwards.
            compared_with: the champion that the decision rests on.
            because: the reason, which is recorded.
            by: who decided; the user of this process if left out.
            force: also a version that was rolled back.

        Returns:
            What changed; None when the version served already.

        Raises:
            PromotionError: another version became champion meanwhile, or the challenger was rolled back.
        """
        standing = self.standing()
        if standing.champion == challenger.number:
            return None
        expected = compared_with.number if compared_with else 0
        if standing.champion != expected:
            raise PromotionError(
                f"Version {challenger.number} was compared with {_name(expected)}, but the champion is "
                f"{_name(standing.champion)} by now: run the flow again."
            )
        undone = standing.rolled_back(challenger.number)
        if undone and not force:
            raise PromotionError(
                f"Version {challenger.number} was rolled back ({undone}). "
                f"If it shall serve again: `maskloop promote {challenger.number} --force`."
            )
        change = Change("promotion", expected, challenger.number, because, forced=force)
        return self._serve(replace(change, by=by) if by else change)

    def roll_back(self, to: int = 0, because: str = "", by: str = "") -> Change | None:
        """Undo the last promotion, or let version `to` serve again.

        Returns:
            What changed; None when that version serves already, or the last change was a rollback: a second
            call undoes nothing more, and going further back takes the version's number.

        Raises:
            RegistryError: there is nothing to go back to, or `to` has never served.
            PromotionError: another version became champion meanwhile.
        """
        standing = self.standing()
        if standing.champion == to or (not to and standing.brought_back_from()):
            return None
        target = self.version(to or standing.replaced() or self._nothing_before(standing))
        if not standing.has_served(target.number):
            raise RegistryError(
                f"Version {target.number} has never served, so there is no going back to it: "
                f"`maskloop promote {target.number}`."
            )
        change = Change("rollback", standing.champion, target.number, because)
        return self._serve(replace(change, by=by) if by else change)

    def _nothing_before(self, standing: Standing) -> int:
        raise RegistryError(
            f"Model {self.model!r} has no previous champion: {_name(standing.champion)} was promoted over "
            "none, so there is nothing to roll back to."
        )

    def _serve(self, change: Change) -> Change:
        """Write the change down, then tell people, then move the alias."""
        standing, after = self.standing(), str(change.after)
        _check_unmoved(standing.champion, change)
        with self.answers():
            self.client.set_registered_model_tag(self.model, standing.next_tag(), encode(change))
            if change.kind == "rollback":
                self.client.set_model_version_tag(self.model, str(change.before), "rolled_back", str(change))
            else:
                self.client.set_model_version_tag(self.model, after, "promoted", str(change))
            if "rolled_back" in self.version(change.after).tags:
                self.client.delete_model_version_tag(self.model, after, "rolled_back")
            if change.before:
                self.client.set_registered_model_alias(self.model, PREVIOUS, str(change.before))
            # again, as late as can be, since MLflow cannot compare and set
            _check_unmoved(self.standing().champion, change)
            self.client.set_registered_model_alias(self.model, CHAMPION, after)
        return change

    def tag(self, version: Version, name: str, value: str) -> None:
        with self.answers():
            self.client.set_model_version_tag(self.model, str(version.number), name, value)

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
    return Version(
        int(entity.version),
        str(entity.run_id or ""),
        str(entity.source),
        dict(entity.tags or {}),
        entity.creation_timestamp / 1000,
    )


def _check_unmoved(champion: int, change: Change) -> None:
    if champion != change.before:
        raise PromotionError(
            f"{_name(champion).capitalize()} became champion while version {change.after} was about to "
            f"replace {_name(change.before)}: look at `maskloop status`, then decide again."
        )


def _name(number: int) -> str:
    return f"version {number}" if number else "no champion"


def _listed(known: Iterable[int]) -> str:
    numbers = ", ".join(map(str, sorted(known)))
    return f"known are {numbers}" if numbers else "nothing is registered there yet"
