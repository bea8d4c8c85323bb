"""The fault benchmark's own parts that can be wrong without a stack."""

import subprocess

import yaml

from benchmarks.fault_stack import SMALL, _clone
from benchmarks.faults import Result, faults, table
from pipelines.stack.config import REPOSITORY


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
