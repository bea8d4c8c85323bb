"""The fault benchmark's own parts that can be wrong without a stack."""

import subprocess
import sys

import httpx
import pytest
import yaml

from benchmarks.fault_stack import SMALL, FaultStack, _clone
from benchmarks.faults import Result, faults, follow, table
from pipelines.stack.config import REPOSITORY, Ports, StackConfig


def test_clone__parameters_are_small_and_committed(tmp_path):
    root = tmp_path / "repository"
    _clone(root)
    params = yaml.safe_load((root / "params.yaml").read_text())
    before = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    assert params.keys() == before.keys()
    for section, values in SMALL.items():
        assert params[section] == before[section] | values
    status = subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True, check=True)
    assert status.stdout == b""


def test_faults__each_step_loses_each_process():
    names = list(faults())
    assert len(names) == len(set(names)) == 44
    assert "kill worker and flow at judge" in names


def test_table__names_what_is_wrong():
    good = Result("kill flow", "Crashed", "", 3.4, 61.0, [])
    bad = Result("disk full", "Failed", "", 1.0, 2.0, ["1 masks lost", "orphan: dvc"])
    lines = table([good, bad]).splitlines()[2:]
    assert lines == [
        "| kill flow | Crashed | 3 s | 61 s | nothing |",
        "| disk full | Failed | 1 s | 2 s | 1 masks lost; orphan: dvc |",
    ]


@pytest.fixture
def stack(tmp_path):
    return FaultStack(StackConfig(tmp_path, tmp_path / "repository", Ports.free()))


@pytest.mark.parametrize(("seconds", "orphans"), [(0.5, 0), (60, 1)])
def test_orphans__a_program_may_be_about_to_end(stack, tmp_path, seconds, orphans):
    sleep = f"import time; time.sleep({seconds})"
    command = [sys.executable, "-c", sleep, "-m", "dvc", "repro", str(tmp_path)]
    with subprocess.Popen(command) as process:
        try:
            stack.wait(lambda: bool(stack.find("dvc")), 10, "the program")
            assert len(stack.orphans(patience=5 if seconds < 5 else 0.1)) == orphans
        finally:
            process.kill()


def test_run__the_server_is_busy_for_a_moment(stack, monkeypatch):
    deployment, made = httpx.Response(200, json={"id": "d"}), httpx.Response(201, json={"id": "run"})
    answers = [httpx.Response(503), made]
    for answer in (deployment, *answers):
        answer.request = httpx.Request("GET", "http://localhost")
    monkeypatch.setattr("benchmarks.fault_stack.httpx.get", lambda *_, **__: deployment)
    monkeypatch.setattr("benchmarks.fault_stack.httpx.post", lambda *_, **__: answers.pop(0))
    monkeypatch.setattr("benchmarks.fault_stack.time.sleep", lambda _: None)
    assert stack.run() == "run"


def test_follow__a_worker_whose_clock_is_late_takes_no_run(stack, monkeypatch):
    stack.environment = {"FAKETIME": "-1d"}
    late, done = {"type": "SCHEDULED", "name": "Late"}, {"type": "COMPLETED", "name": "Completed"}
    monkeypatch.setattr("benchmarks.faults.TAKEN", 0.1)
    monkeypatch.setattr("benchmarks.faults.set_clock_right", lambda stack: stack.environment.clear())
    monkeypatch.setattr(stack, "run", lambda: "run")
    monkeypatch.setattr(stack, "state", lambda run: late if stack.environment else done)
    assert follow(stack) == (done, ["the next run was Late until the clock was set right"])
    assert follow(stack) == (done, [])
