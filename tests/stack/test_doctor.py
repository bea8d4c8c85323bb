import socket
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.stack.config import Ports, StackConfig
from pipelines.stack.doctor import Finding, _backend_state, examine
from pipelines.stack.services import HOST
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
def test_examine__backend_is_not_connected(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.stack.doctor.TITLE", "a project that nobody made")

    found = named(examine(stack.config))

    assert not found["backend in Label Studio"].good
    assert "run `maskloop up`, which connects it" in found["backend in Label Studio"].detail


def test_backend_state__label_studio_cannot_reach_it() -> None:
    backend = {"state": "ER", "url": "http://127.0.0.1:9090", "error_message": "reserved address."}

    finding = _backend_state("backend", backend)

    assert not finding.good
    assert "reserved address. Label Studio refuses private addresses unless" in finding.detail
    assert "ML_BLOCK_LOCAL_IP=false" in finding.detail
