import stat
from pathlib import Path

import pytest

from pipelines.stack.config import (
    Ports,
    Secrets,
    StackConfig,
    exclusive,
    remember_ports,
    remembered_ports,
)
from pipelines.stack.errors import DataFolderBusyError, StackError


def test_secrets__are_kept(tmp_path: Path) -> None:
    path = tmp_path / "data" / "secrets.json"

    first, second = Secrets.kept_in(path), Secrets.kept_in(path)

    assert first == second
    assert len(first.token) == 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_secrets__stay_out_of_repr(tmp_path: Path) -> None:
    secrets = Secrets.kept_in(tmp_path / "secrets.json")

    assert secrets.token not in repr(secrets)
    assert secrets.password not in repr(secrets)


def test_secrets__file_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text("{")

    with pytest.raises(StackError, match=r"secrets\.json is damaged: delete the folder"):
        Secrets.kept_in(tmp_path / "secrets.json")


def test_ports__free_ones_differ() -> None:
    ports = Ports.free()

    assert len({ports.label_studio, ports.mlflow, ports.prefect, ports.backend}) == 4


def test_remembered_ports(tmp_path: Path) -> None:
    config = StackConfig(tmp_path, ports=Ports(backend=9191))
    assert remembered_ports(tmp_path) == Ports()

    remember_ports(config)

    assert remembered_ports(tmp_path) == config.ports


def test_exclusive__folder_is_in_use(tmp_path: Path) -> None:
    refused = pytest.raises(DataFolderBusyError, match="choose another folder with --data")

    with exclusive(tmp_path), refused, exclusive(tmp_path):
        pass

    with exclusive(tmp_path):
        pass  # it is free again
