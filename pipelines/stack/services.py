"""Services: programs that run beside each other on this machine, each in a process group of its own.

A service is stopped with all it started, and nothing else is: its group, and its descendants that made groups
of their own, such as a training that a flow runs.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

import httpx
import psutil

from pipelines.stack.errors import PortTakenError, ProgramMissingError, ServiceFailedError

HOST = "127.0.0.1"
LOG_LINES = 15
STOP_SECONDS = 15.0
SETTLED_SECONDS = 60.0
STOPPING = (signal.SIGINT, signal.SIGTERM)

Handler = Callable[[int, FrameType | None], None] | signal.Handlers


@dataclass(frozen=True)
class Service:
    """How a program is started, and how one knows that it is up."""

    name: str
    command: tuple[str, ...]
    log: Path
    ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    folder: Path | None = None
    port: int | None = None
    port_option: str = ""
    missing: str = "Run `make setup`."
    """What to do when the program is not installed."""
    patience: float = 600.0
    """Seconds until a service that does not answer counts as failed."""


class Services:
    """The services that were started here, stopped in reverse order when the block ends."""

    def __init__(self, say: Callable[[str], None] = print) -> None:
        self._say = say
        self._running: list[tuple[Service, subprocess.Popen[bytes]]] = []
        self._launched: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, *services: Service) -> None:
        """Start all of them, then wait until each one answers.

        Raises:
            ProgramMissingError, PortTakenError: before anything is started.
            ServiceFailedError: a service ended, or did not answer within its patience.
        """
        for service in services:
            _check_program(service)
            _check_port(service)
        for service in services:
            self._say(f"Starting {service.name} …")
            self._running.append((service, self._launch(service)))
        self._wait([service.name for service in services])

    def check(self) -> None:
        """Raise ServiceFailedError when a service has ended by itself."""
        for service, process in self._running:
            code = process.poll()
            if code is not None:
                raise ServiceFailedError(f"{service.name} ended with code {code}. {log_tail(service.log)}")

    def watch(self) -> None:
        """Return never; start again what ends by itself.

        Raises:
            ServiceFailedError: a service ended soon after its start, so that another one would be no use.
        """
        while True:
            self.revive()
            time.sleep(1.0)

    def revive(self) -> None:
        """Start the services again that have ended by themselves; raises as `watch` does."""
        for place, (service, process) in enumerate(self._running):
            if process.poll() is None:
                continue
            if time.monotonic() - self._launched[service.name] < SETTLED_SECONDS:
                self.check()
            self._say(f"{service.name} ended with code {process.returncode} and is started again.")
            _signal_group(process, signal.SIGKILL)  # a child of it may hold its port
            self._running[place] = (service, self._launch(service))

    def stop(self) -> None:
        """End every service with all it started: politely first, by force after some seconds."""
        # a second Ctrl-C must not leave services behind
        with _handled(signal.SIG_IGN, [*STOPPING, signal.SIGHUP]):
            while self._running:
                # one by one: what started last needs the others to say that it ends
                service, process = self._running.pop()
                self._say(f"Stopping {service.name} …")
                _end(process)

    def _launch(self, service: Service) -> subprocess.Popen[bytes]:
        self._launched[service.name] = time.monotonic()
        return _launch(service)

    def _wait(self, names: list[str]) -> None:
        start = last_word = time.monotonic()
        waiting = [service for service, _ in self._running if service.name in names]
        while waiting:
            self.check()
            elapsed = time.monotonic() - start
            for service in [service for service in waiting if service.ready()]:
                waiting.remove(service)
                self._say(f"  {service.name} is up after {elapsed:.0f} s.")
            _check_patience(waiting, elapsed)
            if waiting and time.monotonic() - last_word > 10:
                last_word = time.monotonic()
                self._say(f"  {elapsed:.0f} s: waiting for {', '.join(service.name for service in waiting)}")
            time.sleep(0.5)


def answers(url: str) -> bool:
    """Whether a GET of `url` is answered with 200."""
    try:
        return httpx.get(url, timeout=3.0, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def free_ports(count: int) -> list[int]:
    """Different ports that nobody uses now."""
    with ExitStack() as stack:
        probes = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def port_is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def log_tail(log: Path) -> str:
    """The last lines of a log, as the end of an error message."""
    text = log.read_text(errors="replace") if log.is_file() else ""
    lines = text.splitlines()[-LOG_LINES:] or ["(nothing was written)"]
    return f"The last lines of {log}:\n" + "\n".join(f"    {line}" for line in lines)


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP end the block like Ctrl-C, so that its services are stopped.

    SIGINT is set too, as a shell's background jobs ignore it; SIGHUP stays ignored under nohup.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    hung_up = signal.getsignal(signal.SIGHUP) != signal.SIG_IGN
    with _handled(interrupt, [*STOPPING, signal.SIGHUP] if hung_up else STOPPING):
        yield


@contextmanager
def _handled(handler: Handler, numbers: Sequence[signal.Signals]) -> Iterator[None]:
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def _check_program(service: Service) -> None:
    program = service.command[0]
    if shutil.which(program) is None:
        raise ProgramMissingError(
            f"{service.name} cannot be started: {program} is missing. {service.missing}"
        )


def _check_port(service: Service) -> None:
    if service.port is None or port_is_free(service.port):
        return
    raise PortTakenError(
        f"Port {service.port}, where {service.name} should listen, is taken by another program. "
        f"Stop that program (perhaps another maskloop), or choose another port with {service.port_option}."
    )


def _check_patience(waiting: list[Service], elapsed: float) -> None:
    for service in waiting:
        if elapsed > service.patience:
            where = f" on port {service.port}" if service.port else ""
            raise ServiceFailedError(
                f"{service.name} does not answer{where} after {elapsed:.0f} s. {log_tail(service.log)}"
            )


def _launch(service: Service) -> subprocess.Popen[bytes]:
    service.log.parent.mkdir(parents=True, exist_ok=True)
    with service.log.open("ab") as log:
        return subprocess.Popen(
            service.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **service.environment},
            cwd=service.folder,
            start_new_session=True,
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    family = _descendants(process.pid)
    _signal_group(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    # members of the group may outlive its leader
    _signal_group(process, signal.SIGKILL)
    process.wait()
    _end_family(family)


def _end_family(members: list[psutil.Process]) -> None:
    """End the descendants that are left; psutil knows a process by its start, not by its number alone."""
    for member in members:
        with suppress(psutil.NoSuchProcess):
            member.terminate()
    _, left = psutil.wait_procs(members, timeout=STOP_SECONDS)
    for member in left:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(left, timeout=STOP_SECONDS)


def _descendants(process: int) -> list[psutil.Process]:
    try:
        return list(psutil.Process(process).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
