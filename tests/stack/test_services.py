"""Services against real processes: small ones of Python's own."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from pipelines.stack.errors import PortTakenError, ProgramMissingError, ServiceFailedError
from pipelines.stack.services import HOST, Service, Services, answers, free_ports, interrupted_by_signals

SLEEP = "import time; time.sleep(60)"
# A service whose child must not outlive it; neither ends when asked politely.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sleep = [sys.executable, "-c", "import time; time.sleep(60)"]  # ignores SIGTERM as well
child = subprocess.Popen(sleep, start_new_session=%s)
print(child.pid, flush=True)
time.sleep(60)
"""


def service(folder: Path, *arguments: str, **fields: object) -> Service:
    command = (sys.executable, *arguments)
    given = {"name": "Sample", "command": command, "log": folder / "sample.log", "ready": lambda: True}
    return Service(**{**given, **fields})


def web_server(folder: Path, port: int) -> Service:
    arguments = ("-m", "http.server", str(port), "--bind", HOST, "--directory", str(folder))
    return service(folder, *arguments, port=port, ready=lambda: answers(f"http://{HOST}:{port}/"))


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def kill_child() -> None:
    """SIGKILL to our newest child, which is left to its parent to bury."""
    child = max(psutil.Process().children(), key=psutil.Process.create_time)
    child.kill()
    while child.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)


def test_start__waits_until_it_answers(tmp_path: Path) -> None:
    (port,) = free_ports(1)

    with Services() as services:
        services.start(web_server(tmp_path, port))
        assert httpx.get(f"http://{HOST}:{port}/", trust_env=False).status_code == 200

    assert not answers(f"http://{HOST}:{port}/")


def test_start__tells_what_happens(tmp_path: Path) -> None:
    told: list[str] = []

    with Services(told.append) as services:
        services.start(service(tmp_path, "-c", SLEEP))

    assert told == ["Starting Sample …", "  Sample is up after 0 s.", "Stopping Sample …"]


def test_start__program_is_missing(tmp_path: Path) -> None:
    missing = service(tmp_path, command=("no-such-program",), missing="Run `make setup`.")

    with Services() as services, pytest.raises(ProgramMissingError) as caught:
        services.start(missing)

    assert str(caught.value) == "Sample cannot be started: no-such-program is missing. Run `make setup`."


def test_start__port_is_taken(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        taken = service(tmp_path, "-c", SLEEP, port=port, port_option="--sample-port")

        with Services() as services, pytest.raises(PortTakenError) as caught:
            services.start(taken)

    assert f"Port {port}, where Sample should listen" in str(caught.value)
    assert "--sample-port" in str(caught.value)


def test_start__nothing_is_started_when_one_cannot_be(tmp_path: Path) -> None:
    told: list[str] = []
    good, bad = service(tmp_path, "-c", SLEEP), service(tmp_path, command=("no-such-program",))

    with Services(told.append) as services, pytest.raises(ProgramMissingError):
        services.start(good, bad)

    assert told == []


def test_start__service_ends_at_once(tmp_path: Path) -> None:
    broken = service(tmp_path, "-c", "print('no database'); raise SystemExit(3)", ready=lambda: False)

    with Services() as services, pytest.raises(ServiceFailedError) as caught:
        services.start(broken)

    assert "Sample ended with code 3" in str(caught.value)
    assert str(tmp_path / "sample.log") in str(caught.value)
    assert "    no database" in str(caught.value)


def test_start__service_never_answers(tmp_path: Path) -> None:
    silent = service(tmp_path, "-c", SLEEP, ready=lambda: False, port=free_ports(1)[0], patience=0.5)

    with Services() as services, pytest.raises(ServiceFailedError) as caught:
        services.start(silent)

    assert f"Sample does not answer on port {silent.port}" in str(caught.value)
    assert "(nothing was written)" in str(caught.value)


def test_check__service_ends_later(tmp_path: Path) -> None:
    with Services() as services:
        services.start(service(tmp_path, "-c", "import time; time.sleep(1)"))
        services.check()
        time.sleep(2)
        with pytest.raises(ServiceFailedError, match="Sample ended with code 0"):
            services.check()


def test_revive__service_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.stack.services.SETTLED_SECONDS", 0.0)
    told: list[str] = []
    (port,) = free_ports(1)
    with Services(told.append) as services:
        services.start(web_server(tmp_path, port))
        services.revive()
        kill_child()
        services.revive()
        deadline = time.monotonic() + 60
        while not answers(f"http://{HOST}:{port}/"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert "Sample ended with code -9 and is started again." in told


def test_revive__service_ends_soon_after_its_start(tmp_path: Path) -> None:
    with Services(lambda text: None) as services:
        services.start(service(tmp_path, "-c", SLEEP))
        kill_child()
        with pytest.raises(ServiceFailedError, match="Sample ended with code -9"):
            services.revive()


@pytest.mark.parametrize("own_group", [False, True])
def test_stop__all_it_started_and_nothing_else(
    own_group: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.stack.services.STOP_SECONDS", 0.5)
    log = tmp_path / "sample.log"
    bystander = subprocess.Popen([sys.executable, "-c", SLEEP])
    try:
        with Services() as services:
            script = STUBBORN % own_group
            services.start(service(tmp_path, "-c", script, ready=lambda: log.read_text().endswith("\n")))
            child = int(log.read_text())
            assert is_running(child)

        assert not is_running(child)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_by_signals(number: signal.Signals) -> None:
    before = signal.getsignal(number)

    with pytest.raises(KeyboardInterrupt), interrupted_by_signals():
        os.kill(os.getpid(), number)

    assert signal.getsignal(number) == before


def test_interrupted_by_signals__hang_up_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupted_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
