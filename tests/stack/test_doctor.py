import socket
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.stack.config import Ports, StackConfig
from pipelines.stack.doctor import Finding, examine
from pipelines.stack.services import HOST, free_ports
from pipelines.stack.up import Stack


def named(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_examine__nothing_runs(tmp_path: Path) -> None:
    found = named(examine(StackConfig(tmp_path, ports=Ports.free())))

    assert found["Python"].good
    assert found["git"].good
    assert not found["MLflow"].good
    assert "start it with `maskloop up`" in found["MLflow"].detail


def test_examine__label_studio_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKLOOP_LABEL_STUDIO", "no-such-program")

    found = named(examine(StackConfig(tmp_path, ports=Ports.free())))

    assert not found["Label Studio's program"].good
    assert "run `make setup`, or set MASKLOOP_LABEL_STUDIO" in found["Label Studio's program"].detail


def test_examine__port_belongs_to_another_program(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind((HOST, 0))  # bound but not listening: taken, and answers nobody
        ports = replace(Ports.free(), backend=other.getsockname()[1])

        found = named(examine(StackConfig(tmp_path, ports=ports)))

    assert "is taken by a program that is not backend" in found["backend"].detail


@pytest.mark.stack
def test_examine__everything_is_well(stack: Stack) -> None:
    findings = examine(stack.config)

    assert [finding for finding in findings if not finding.good] == []
    assert named(findings)["model version"].detail == "maskloop-v1 is served, and is the champion"


@pytest.mark.stack
def test_examine__backend_was_disconnected(stack: Stack) -> None:
    client, nobody = stack.label_studio, f"http://{HOST}:{free_ports(1)[0]}"
    client.move_backend(stack.backend, stack.project, nobody)
    try:
        found = named(examine(stack.config))
    finally:
        client.move_backend(stack.backend, stack.project, stack.config.backend_url)

    assert not found["backend in Label Studio"].good
    assert "ML_BLOCK_LOCAL_IP=false" in found["backend in Label Studio"].detail
