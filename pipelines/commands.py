"""Commands: programs that the pipelines start, each under a supervisor of its own, so that none outlives us.

A process that is killed with SIGKILL ends nobody: it is `pipelines/supervise.py` that sees us die, and that
ends what a killed command left running.
"""

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from pipelines import supervise
from pipelines.errors import CommandError

Log = Callable[[str], None]
_PATIENCE = 2 * supervise.GRACE_SECONDS + 2


def run(command: Sequence[str], folder: Path, log: Log) -> str:
    """Run `command` in `folder`, hand each line that it prints to `log`, and return all of it.

    When we are interrupted, ended or killed meanwhile, so is the command, with everything it started.

    Raises:
        CommandError: the command ended with another code than 0; its last lines are in the message.
    """
    lines: list[str] = []
    pipe, lifeline = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-I", supervise.__file__, str(pipe), *command],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        pass_fds=[pipe],
    ) as process:
        os.close(pipe)
        threading.Thread(target=_end_group, args=(process.pid,), daemon=True).start()
        try:
            for line in process.stdout or ():
                lines.append(line)
                if line.strip():
                    log(line.rstrip())
            process.wait()
        finally:
            os.close(lifeline)  # from here on the supervisor ends what is left
            _await(process)
    if process.returncode:
        last = "".join(deque(lines, maxlen=20)).strip()
        raise CommandError(
            f"{' '.join(command)!r} ended with code {process.returncode} in {folder}. Its last lines:\n{last}"
        )
    return "".join(lines)


def environment() -> dict[str, str]:
    """Our environment, with the programs of our own Python first: a stage calls `python`."""
    programs = Path(sys.executable).parent
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "DVC_NO_ANALYTICS": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _await(process: subprocess.Popen[str]) -> None:
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _end_group(leader: int) -> None:
    """Once a supervisor is dead, end its group: if it was killed, nobody else does.

    It is not reaped here, so that its number cannot be another group's meanwhile.
    """
    with suppress(ChildProcessError, ProcessLookupError):
        os.waitid(os.P_PID, leader, os.WEXITED | os.WNOWAIT)
        os.killpg(leader, signal.SIGKILL)
