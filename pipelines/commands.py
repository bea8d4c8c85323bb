"""Commands: programs that the pipelines start, each in its own process group, so that none outlives us."""

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from pipelines.errors import CommandError

Log = Callable[[str], None]
GRACE_SECONDS = 10


def run(command: Sequence[str], folder: Path, log: Log) -> str:
    """Run `command` in `folder`, hand each line that it prints to `log`, and return all of it.

    When we are interrupted or ended meanwhile, so is the command, with everything it started.

    Raises:
        CommandError: the command ended with another code than 0; its last lines are in the message.
    """
    lines: list[str] = []
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            for line in process.stdout or ():
                lines.append(line)
                if line.strip():
                    log(line.rstrip())
        except BaseException:
            _end(process)
            raise
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


def _end(process: subprocess.Popen[str]) -> None:
    """End the whole group of `process`: politely, then for certain."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(GRACE_SECONDS)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
