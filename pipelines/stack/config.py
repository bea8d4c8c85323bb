"""Where the stack lives: its data folder, ports, addresses and secrets."""

import fcntl
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from pipelines.stack.errors import DataFolderBusyError, StackError
from pipelines.stack.services import HOST, free_ports

REPOSITORY = Path(__file__).resolve().parents[2]
EMAIL = "labeler@example.com"


@dataclass(frozen=True)
class Ports:
    """One port a service."""

    label_studio: int = 8080
    mlflow: int = 5000
    prefect: int = 4200
    backend: int = 9090

    @classmethod
    def free(cls) -> Self:
        return cls(*free_ports(4))


@dataclass(frozen=True)
class Secrets:
    """What Label Studio's user and the backend's webhook are protected with; made at the first start."""

    password: str = field(default_factory=lambda: secrets.token_urlsafe(12), repr=False)
    token: str = field(default_factory=lambda: secrets.token_hex(20), repr=False)
    webhook: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    @classmethod
    def kept_in(cls, path: Path) -> Self:
        """The secrets of an earlier start, or new ones. Label Studio knows them from its first start on."""
        if path.is_file():
            return cls(**_read_json(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        made = cls()
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(made)))
        return made


@dataclass(frozen=True)
class StackConfig:
    """A stack: `data` holds everything it writes, `root` is the repository whose flow it runs."""

    data: Path
    root: Path = REPOSITORY
    ports: Ports = Ports()

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", self.data.resolve())
        object.__setattr__(self, "root", self.root.resolve())

    @property
    def secrets(self) -> Secrets:
        return Secrets.kept_in(self.data / "secrets.json")

    @property
    def label_studio_url(self) -> str:
        return f"http://{HOST}:{self.ports.label_studio}"

    @property
    def mlflow_url(self) -> str:
        return f"http://{HOST}:{self.ports.mlflow}"

    @property
    def prefect_url(self) -> str:
        return f"http://{HOST}:{self.ports.prefect}"

    @property
    def prefect_api(self) -> str:
        return f"{self.prefect_url}/api"

    @property
    def backend_url(self) -> str:
        return f"http://{HOST}:{self.ports.backend}"

    @property
    def journal(self) -> Path:
        """Where the backend writes down every click, and the retrain flow counts them."""
        return self.data / "journal"

    def log(self, name: str) -> Path:
        return self.data / "logs" / f"{name}.log"


def remember_ports(config: StackConfig) -> None:
    """Write down where the stack listens, for commands that are started later."""
    (config.data / "ports.json").write_text(json.dumps(asdict(config.ports)))


def remembered_ports(data: Path) -> Ports:
    """Where the stack of this data folder listened last."""
    path = data / "ports.json"
    return Ports(**_read_json(path)) if path.is_file() else Ports()


@contextmanager
def exclusive(data: Path) -> Iterator[None]:
    """Keep a second stack out of the data folder: two of them would write the same databases."""
    data.mkdir(parents=True, exist_ok=True)
    with (data / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataFolderBusyError(
                f"Another stack is running on {data}: stop it, or choose another folder with --data."
            ) from error
        yield


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise StackError(f"{path} is damaged: delete the folder {path.parent} to start anew.") from error
