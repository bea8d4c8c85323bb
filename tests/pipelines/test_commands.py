import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipelines.commands import run
from pipelines.errors import CommandError


def test_run__hands_on_each_line_and_returns_all(tmp_path):
    lines = []
    output = run([sys.executable, "-c", "print('one'); print('two')"], tmp_path, lines.append)
    assert lines == ["one", "two"]
    assert output == "one\ntwo\n"


def test_run__error_names_command_code_and_last_lines(tmp_path):
    with pytest.raises(CommandError, match=r"(?s)code 3.*what went wrong"):
        run([sys.executable, "-c", "print('what went wrong'); raise SystemExit(3)"], tmp_path, print)


def test_run__our_python_comes_first(tmp_path):
    output = run(["sh", "-c", "command -v python"], tmp_path, print)
    assert Path(output.strip()).parent == Path(sys.executable).parent


def test_run__interrupted_ends_the_whole_family(tmp_path):
    """The command starts a child of its own, as `dvc repro` starts a stage: both must be gone."""
    code = (
        "import subprocess, sys;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "print(child.pid, flush=True); child.wait()"
    )
    children = []

    def stop(line):
        children.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([sys.executable, "-c", code], tmp_path, stop)
    assert _gone(children[0])


def test_run__ended_by_signal_ends_the_command(tmp_path):
    """As when a person cancels a flow run: SIGTERM that the program turns into an exception."""
    code = (
        "import signal, sys; from pathlib import Path; from pipelines.commands import run\n"
        "def leave(*_): raise SystemExit(1)\n"
        "signal.signal(signal.SIGTERM, leave)\n"
        "run(['sh', '-c', 'echo $$; sleep 60'], Path('.'), lambda line: print(line, flush=True))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as program:
        watchdog = threading.Timer(30, program.kill)
        watchdog.start()
        child = int(program.stdout.readline())
        program.send_signal(signal.SIGTERM)
        program.wait()
        watchdog.cancel()
    assert _gone(child)


def _gone(pid):
    for _ in range(50):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False
