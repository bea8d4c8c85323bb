"""Settings: read from the environment once, then frozen."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from ml_backend.errors import SettingsError

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Settings:
    """What the service is told by `MASKLOOP_*` variables. Secrets stay out of `repr`."""

    label_studio_url: str = ""
    label_studio_token: str = field(default="", repr=False)
    mlflow_url: str = ""
    model: str = "maskloop"
    checkpoint: Path = REPOSITORY / "checkpoints" / "default"
    poll_seconds: float = 5.0
    basic_user: str = ""
    basic_password: str = field(default="", repr=False)
    webhook_secret: str = field(default="", repr=False)
    prefect_url: str = ""
    threads: int = 0
    """torch threads; 0 leaves torch's own choice, all cores."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read the variables of ARCHITECTURE.md; an empty one counts as absent.

        Raises:
            SettingsError: a number or an address that is none, or half of a user and password.
        """
        reader = _Reader(environment)
        settings = cls(
            label_studio_url=reader.url("LABEL_STUDIO_URL"),
            label_studio_token=reader.text("LABEL_STUDIO_TOKEN"),
            mlflow_url=reader.url("MLFLOW_URL"),
            model=reader.text("MODEL", cls.model),
            checkpoint=Path(reader.text("CHECKPOINT", str(cls.checkpoint))),
            poll_seconds=reader.number("POLL_SECONDS", cls.poll_seconds, least=0.1),
            basic_user=reader.text("BASIC_USER"),
            basic_password=reader.text("BASIC_PASSWORD"),
            webhook_secret=reader.text("WEBHOOK_SECRET"),
            prefect_url=reader.url("PREFECT_URL"),
            threads=int(reader.number("THREADS", cls.threads, least=0)),
        )
        if bool(settings.basic_user) != bool(settings.basic_password):
            raise SettingsError(
                "Set both MASKLOOP_BASIC_USER and MASKLOOP_BASIC_PASSWORD, or neither; one alone is no use."
            )
        return settings


class _Reader:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, name: str, default: str = "") -> str:
        return self._environment.get(f"MASKLOOP_{name}", "").strip() or default

    def number(self, name: str, default: float, least: float) -> float:
        text = self.text(name, str(default))
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value < math.inf:
            raise SettingsError(f"MASKLOOP_{name} is {text!r}: give a number of at least {least}.")
        return value

    def url(self, name: str) -> str:
        text = self.text(name).rstrip("/")
        if text and not _is_web_address(text):
            raise SettingsError(
                f"MASKLOOP_{name} is {text!r}: give an address such as http://localhost:8080."
            )
        return text


def _is_web_address(text: str) -> bool:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        return False
    return url.scheme in {"http", "https"} and bool(url.host)
