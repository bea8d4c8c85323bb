"""Supervise: run a command, and end all that it started once our parent is gone, or the command itself.

    python supervise.py PIPE COMMAND ...

PIPE is the number of a descriptor to read from, whose other end the parent alone holds: however the parent
dies, even by SIGKILL, the kernel closes that end. On Linux we are the command's subreaper: orphans come to
us, so that also a child that made a session of its own is found. This file is started by its path, isolated:
that is quick, and the same in every folder.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from types import FrameType

GRACE_SECONDS = 8.0
_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>


def main(pipe: int, command: list[str]) -> int:
    """Returns the command's exit code; 128 and more: it was ended by a signal."""
    _adopt_orphans()
    signal.signal(signal.SIGTERM, _leave)
    # first: a parent that is gone by now must find nothing to wait for
    threading.Thread(target=_await_end, args=(pipe,), daemon=True).start()
    try:
        code = subprocess.Popen(command).wait()
        return code if code >= 0 else 128 - code
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror}", flush=True)
        return 127
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end_family()


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _await_end(pipe: int) -> None:
    """Wait until nobody holds the other end; then wake the main thread, which waits for the command."""
    os.read(pipe, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _adopt_orphans() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end_family() -> None:
    """End every descendant: politely, so that git removes its locks; then for certain."""
    import psutil  # only here, as most commands leave nobody behind

    ourselves = psutil.Process()
    for name in ("terminate", "kill"):
        family = ourselves.children(recursive=True)
        for member in family:
            try:
                getattr(member, name)()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(family, timeout=GRACE_SECONDS)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
