"""Nothing that a command started outlives it or us, whoever of the family is killed with SIGKILL."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipelines import supervise
from pipelines.commands import run
from pipelines.errors import CommandError

# As `dvc repro` starts a stage, and the stage (torchrun) workers in sessions of their own.
FAMILY = """
import os, subprocess, sys, time
own = sys.argv[1] == "own"
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"], start_new_session=own)
print("command", os.getpid(), "child", child.pid, flush=True)
child.wait()
"""
FLOW = """
import sys
from pathlib import Path
from pipelines.commands import run
run([sys.executable, "-c", sys.argv[1], sys.argv[2]], Path("."), lambda line: print(line, flush=True))
"""


@pytest.fixture
def flow(request):
    """A process that runs a command which has a child: its handle, and the numbers of the other two."""
    arguments = [sys.executable, "-c", FLOW, FAMILY, getattr(request, "param", "same")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        words = process.stdout.readline().split()
        yield process, int(words[1]), int(words[3])
        process.kill()


@pytest.mark.parametrize("flow", ["same", "own"], indirect=True)
def test_run__we_are_killed(flow):
    process, command, child = flow
    process.kill()
    process.wait()
    assert gone(command)
    assert gone(child)


@pytest.mark.parametrize("flow", ["same", "own"], indirect=True)
def test_run__command_is_killed(flow):
    process, command, child = flow
    os.kill(command, signal.SIGKILL)
    assert gone(child)
    assert process.wait(10) != 0, "the caller is told"


def test_run__supervisor_is_killed(flow):
    process, command, child = flow
    os.kill(psutil.Process(command).ppid(), signal.SIGKILL)
    assert gone(command)
    assert gone(child)
    assert process.wait(10) != 0


def test_run__child_is_killed(flow):
    process, command, child = flow
    os.kill(child, signal.SIGKILL)
    assert gone(command)
    assert process.wait(10) == 0, "that is the command's own business"


def test_run__command_leaves_a_child_behind(tmp_path):
    code = (
        "import subprocess, sys;"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(120)']).pid)"
    )
    start = time.monotonic()
    child = run([sys.executable, "-c", code], tmp_path, print)
    assert gone(int(child))
    assert time.monotonic() - start < 10


def test_run__child_that_ignores_sigterm(tmp_path, monkeypatch):
    code = (
        "import signal, subprocess, sys;"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print(subprocess.Popen(['sleep', '120'], stdout=subprocess.DEVNULL).pid)"
    )
    short = tmp_path / "supervise.py"
    short.write_text(
        Path(supervise.__file__).read_text().replace("GRACE_SECONDS = 8.0", "GRACE_SECONDS = 0.5")
    )
    monkeypatch.setattr(supervise, "__file__", str(short))
    assert gone(int(run([sys.executable, "-c", code], tmp_path, print)))


def test_run__command_killed_is_named(tmp_path):
    with pytest.raises(CommandError, match="code 137"):
        run(["sh", "-c", "kill -9 $$"], tmp_path, print)


def test_run__program_is_missing(tmp_path):
    with pytest.raises(CommandError, match="no-such-program cannot be started"):
        run(["no-such-program"], tmp_path, print)


def gone(pid):
    """Whether a process ends within some seconds; a zombie has ended."""
    for _ in range(150):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.1)
    return False
