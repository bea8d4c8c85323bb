"""A PostgreSQL server of our own for measurements, from the programs that Debian installs."""

import getpass
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.stack.services import HOST, free_ports

DATABASES = ("mlflow", "prefect")
USER = "maskloop"


@dataclass(frozen=True)
class Database:
    """Where it listens; whoever is on this machine may log in."""

    port: int

    @property
    def variables(self) -> dict[str, str]:
        """What MLflow and Prefect read."""
        at = f"{USER}@{HOST}:{self.port}"
        return {
            "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg2://{at}/mlflow",
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{at}/prefect",
        }


@contextmanager
def database(folder: Path) -> Iterator[Database]:
    """A cluster below `folder` with a database for each service; ended with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    program = _programs()
    # PostgreSQL refuses to run as root
    prefix = ["runuser", "-u", "postgres", "--"] if getpass.getuser() == "root" else []
    if prefix:
        shutil.chown(folder, "postgres")
    data, (port,) = folder / "cluster", free_ports(1)
    _run(*prefix, program / "initdb", "-D", data, "-U", USER, "--auth", "trust", "--encoding", "UTF8")
    options = f"-p {port} -c listen_addresses={HOST} -c unix_socket_directories={folder}"
    _run(*prefix, program / "pg_ctl", "-D", data, "-l", folder / "server.log", "-o", options, "-w", "start")
    try:
        for name in DATABASES:
            _run(*prefix, program / "createdb", "-h", HOST, "-p", str(port), "-U", USER, name)
        yield Database(port)
    finally:
        _run(*prefix, program / "pg_ctl", "-D", data, "-m", "fast", "-w", "stop")


def _programs() -> Path:
    """The folder of initdb: Debian keeps each release in one of its own."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        raise SystemExit("initdb is missing: apt-get install postgresql")
    return found[-1] if found else Path(str(on_path)).parent


def _run(*command: object) -> None:
    done = subprocess.run(
        [str(part) for part in command], cwd=os.sep, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{command[-1]}: {done.stdout}{done.stderr}")
