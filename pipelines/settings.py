"""Settings of the flow, read once from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.errors import SettingsError


@dataclass(frozen=True)
class Settings:
    """What a retrain needs to know about the services around it."""

    label_studio_url: str
    label_studio_token: str = field(repr=False)
    label_studio_project: int
    mlflow_url: str
    model: str
    root: Path  # the git repository that retrain branches are made in
    journal: str = ""  # folder of the click journal, or address of the backend that keeps it; empty: none
    spare_mb: int = 1024  # megabytes that a retrain must leave free on the disk of `root`

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Raises SettingsError when a variable is missing or unusable."""
        return cls(
            label_studio_url=_required(environment, "MASKLOOP_LABEL_STUDIO_URL").rstrip("/"),
            label_studio_token=_required(environment, "MASKLOOP_LABEL_STUDIO_TOKEN"),
            label_studio_project=_number(environment, "MASKLOOP_LABEL_STUDIO_PROJECT"),
            mlflow_url=_required(environment, "MLFLOW_TRACKING_URI"),
            model=environment.get("MASKLOOP_MODEL") or "maskloop",
            root=_repository(environment.get("MASKLOOP_PROJECT_ROOT") or "."),
            journal=environment.get("MASKLOOP_JOURNAL") or "",
            spare_mb=_number(environment, "MASKLOOP_SPARE_MB", default="1024"),
        )


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise SettingsError(f"{name} is not set: set it for the worker that runs the flow.")
    return value


def _number(environment: Mapping[str, str], name: str, default: str = "") -> int:
    value = environment.get(name) or default or _required(environment, name)
    if not value.isdecimal():
        raise SettingsError(f"{name} is {value!r}: set it to a whole number (a project's is in its address).")
    return int(value)


def _repository(value: str) -> Path:
    root = Path(value).resolve()
    if not (root / "dvc.yaml").is_file():
        raise SettingsError(
            f"{root} holds no dvc.yaml: set MASKLOOP_PROJECT_ROOT to the repository's folder."
        )
    return root
