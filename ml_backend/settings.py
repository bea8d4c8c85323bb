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
    batch: int = 1
    """Clicks of different people that the network answers together; on a CPU one by one is sooner."""
    image_hosts: tuple[str, ...] = ()
    """Hosts beside Label Studio's that images are fetched from, each `host` or `host:port`."""
    prefetch: int = 3
    """Tasks after the one that is open whose images are fetched and prepared ahead; 0: none."""
    image_cache_mb: int = 512
    mask_cache_mb: int = 256
    max_body_mb: int = 64
    max_megapixels: int = 64
    max_clicks: int = 100
    queue: int = 32
    """Clicks that may wait for the network; more are answered 503."""
    timeout_seconds: float = 30.0
    """How long a click may wait for its answer, the image's download included."""
    journal: Path | None = None
    """Folder of the click journal; None: none is kept."""
    log_format: str = "text"
    """`text`, or `json` for one object a line."""

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
            threads=reader.whole("THREADS", cls.threads),
            batch=reader.whole("BATCH", cls.batch, least=1),
            image_hosts=reader.hosts("IMAGE_HOSTS"),
            prefetch=reader.whole("PREFETCH", cls.prefetch),
            image_cache_mb=reader.whole("IMAGE_CACHE_MB", cls.image_cache_mb),
            mask_cache_mb=reader.whole("MASK_CACHE_MB", cls.mask_cache_mb),
            max_body_mb=reader.whole("MAX_BODY_MB", cls.max_body_mb, least=1),
            max_megapixels=reader.whole("MAX_MEGAPIXELS", cls.max_megapixels, least=1),
            max_clicks=reader.whole("MAX_CLICKS", cls.max_clicks, least=1),
            queue=reader.whole("QUEUE", cls.queue, least=1),
            timeout_seconds=reader.number("TIMEOUT_SECONDS", cls.timeout_seconds, least=1),
            journal=reader.folder("JOURNAL"),
            log_format=reader.choice("LOG", ("text", "json")),
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

    def whole(self, name: str, default: int, least: int = 0) -> int:
        return int(self.number(name, default, least))

    def choice(self, name: str, known: tuple[str, ...]) -> str:
        """One of the known words; the first is the default."""
        text = self.text(name, known[0])
        if text not in known:
            raise SettingsError(f"MASKLOOP_{name} is {text!r}: give one of {', '.join(known)}.")
        return text

    def folder(self, name: str) -> Path | None:
        text = self.text(name)
        return Path(text) if text else None

    def hosts(self, name: str) -> tuple[str, ...]:
        """Hosts with commas between, each with or without a port."""
        hosts = tuple(host for part in self.text(name).split(",") if (host := part.strip().lower()))
        for host in hosts:
            if "/" in host or not _is_web_address(f"http://{host}"):
                raise SettingsError(
                    f"MASKLOOP_{name} names {host!r}: give hosts such as images.example.com, commas between."
                )
        return hosts

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
