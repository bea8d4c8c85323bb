"""Faults in a running loop: its parts are killed, cut off, filled and skewed at each step of a retrain.

    python -m benchmarks.faults                       # all that this data folder has no result of yet
    python -m benchmarks.faults --only 'kill flow'    # those whose name matches
    python -m benchmarks.faults --table               # what was found so far

Each fault strikes while a retrain on a new annotation is under way. Then what is down is started again, one
more annotation comes, and the next run has to complete. After it: no mask lost or doubled against what Label
Studio holds, no orphan, no left-over worktree, and a champion that loads with the digest of its tag.

It needs root for a small disk of its own (mount), and libfaketime (Debian: faketime) for the clocks.
"""

import argparse
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from benchmarks.failing_proxy import Mode
from benchmarks.fault_stack import STEPS, FaultStack, fault_stack
from pipelines.stack.config import Ports, StackConfig
from pipelines.stack.errors import StackError

DISK_MB = 900
BALLAST = "ballast"
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
SILENCE = 120.0
TAKEN = 180.0
"""Seconds within which a worker whose clock is wrong has done the next run, or does not take it."""


@dataclass(frozen=True)
class Result:
    """What became of one fault; seconds count from the fault."""

    fault: str
    outcome: str
    message: str
    ended: float
    recovered: float
    complaints: list[str]


Strike = Callable[[FaultStack, str, int], None]
"""Strikes while a run is under way: the stack, the run, and where its log begins."""


def at(step: str, deed: Callable[[FaultStack], None]) -> Strike:
    def strike(stack: FaultStack, run: str, since: int) -> None:
        stack.await_step(step, since)
        deed(stack)

    return strike


def kill(*names: str) -> Callable[[FaultStack], None]:
    return lambda stack: stack.kill(*names)


def kill_at(program: str, step: str) -> Strike:
    """SIGKILL, as soon as the program is there at this step."""

    def strike(stack: FaultStack, run: str, since: int) -> None:
        stack.await_step(step, since)
        stack.wait(lambda: bool(stack.find(program)), 300, program)
        stack.kill(program)

    return strike


def cut_off(server: str, mode: Mode, seconds: float) -> Callable[[FaultStack], None]:
    def deed(stack: FaultStack) -> None:
        with stack.proxies[server].failing(mode):
            time.sleep(seconds)

    return deed


def fill_disk(stack: FaultStack) -> None:
    """Take all space of the disk that the repository is on; it is given back when the run has ended."""
    size = shutil.disk_usage(stack.config.root).free
    with (stack.config.root / BALLAST).open("wb") as file:
        for _ in range(size // (1 << 20) + 1):
            try:
                file.write(bytes(1 << 20))
                file.flush()
            except OSError:
                return


def skew_flow(offset: str) -> Strike:
    """Run worker and flow with another clock than all others; the run that waits is theirs."""

    def strike(stack: FaultStack, run: str, since: int) -> None:
        stack.await_step("collect", since)
        stack.kill("worker", "flow")
        stack.environment |= {"LD_PRELOAD": FAKETIME, "FAKETIME": offset, "DONT_FAKE_MONOTONIC": "1"}

    return strike


def set_clock_right(stack: FaultStack) -> None:
    if stack.environment:
        stack.environment.clear()
        stack.services["worker"].stop()
        stack.start_worker()


def set_back_label_studio(stack: FaultStack, run: str, since: int) -> None:
    """Label Studio's clock is an hour late for a while, in which somebody annotates."""
    stack.await_end(run)
    late = {"LD_PRELOAD": FAKETIME, "FAKETIME": "-1h", "DONT_FAKE_MONOTONIC": "1"}
    with restarted(stack, "Label Studio", late):
        stack.annotate()
    stack.await_end(stack.run())


@contextmanager
def restarted(stack: FaultStack, name: str, environment: dict[str, str]) -> Iterator[None]:
    """A service with some more environment, and then without it again."""
    usual = stack.definitions[name]
    stack.services[name].stop()
    stack.start(name, replace(usual, environment={**usual.environment, **environment}))
    yield
    stack.services[name].stop()
    stack.start(name, usual)


def second_trigger(stack: FaultStack, run: str, since: int) -> None:
    other = stack.run()
    stack.await_end(other)


def faults() -> dict[str, Strike]:
    every: dict[str, Strike] = {}
    for step in STEPS:
        every[f"kill flow at {step}"] = at(step, kill("flow"))
        every[f"kill worker at {step}"] = at(step, kill("worker"))
        every[f"kill worker and flow at {step}"] = at(step, kill("worker", "flow"))
        every[f"kill backend at {step}"] = at(step, kill("backend"))
    for program in ("training", "dvc", "supervisor"):
        every[f"kill {program}"] = kill_at(program, "repro")
    for mode in (Mode.DOWN, Mode.ERROR):
        every[f"Label Studio {mode} for 20 s at collect"] = at("collect", cut_off("Label Studio", mode, 20))
        every[f"Label Studio {mode} for 300 s at collect"] = at("collect", cut_off("Label Studio", mode, 300))
        every[f"MLflow {mode} for 5 s at register"] = at("register", cut_off("MLflow", mode, 5))
        every[f"MLflow {mode} for 120 s at register"] = at("register", cut_off("MLflow", mode, 120))
        every[f"MLflow {mode} for 120 s at judge"] = at("judge", cut_off("MLflow", mode, 120))
        every[f"Prefect {mode} for 20 s at repro"] = at("repro", cut_off("Prefect", mode, 20))
        every[f"Prefect {mode} for 200 s at repro"] = at("repro", cut_off("Prefect", mode, 200))
    for step in ("collect", "snapshot", "repro"):
        every[f"disk full at {step}"] = at(step, fill_disk)
    every["clock of the flow a day ahead"] = skew_flow("+1d")
    every["clock of the flow a day late"] = skew_flow("-1d")
    every["clock of Label Studio set back an hour"] = set_back_label_studio
    every["two triggers at once"] = second_trigger
    return every


def inject(stack: FaultStack, name: str, strike: Strike) -> Result:
    stack.annotate()
    since = stack.mark()
    run = stack.run()
    strike(stack, run, since)
    start = time.monotonic()
    # what is down comes back: a service manager's work, which takes it some seconds
    for part in ("backend", "worker"):
        if not stack.find(part):
            stack.services[part].stop()
            stack.start_worker() if part == "worker" else stack.start(part)
    state = stack.await_end(run)
    ended = time.monotonic() - start
    (stack.config.root / BALLAST).unlink(missing_ok=True)
    stack.annotate()
    following, waited = follow(stack)
    recovered = time.monotonic() - start
    complaints = waited + stack.complaints()
    if following["type"] != "COMPLETED":
        complaints.append(f"the next run ended {following['name']}: {following['message']}")
    message = str(state["message"] or "").splitlines()[-1:] or [""]
    return Result(name, str(state["name"]), message[0][:160], ended, recovered, complaints)


def follow(stack: FaultStack) -> tuple[dict[str, Any], list[str]]:
    """The next run's end, and what is to be said of it.

    A worker asks for what is due by its own clock, so one whose clock is late takes nothing.
    """
    run = stack.run()
    if not stack.environment:
        return stack.await_end(run), []
    with suppress(TimeoutError):
        return stack.await_end(run, TAKEN), []
    said = f"the next run was {stack.state(run)['name']} until the clock was set right"
    set_clock_right(stack)
    return stack.await_end(run), [said]


def table(results: list[Result]) -> str:
    lines = [
        "| fault | the run | ended after | next run done after | lost, doubled, left over |",
        "| --- | --- | --- | --- | --- |",
    ]
    for one in results:
        wrong = "; ".join(one.complaints) or "nothing"
        lines.append(f"| {one.fault} | {one.outcome} | {one.ended:.0f} s | {one.recovered:.0f} s | {wrong} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(tempfile.gettempdir()) / "maskloop-faults",
        help="kept for the next time",
    )
    parser.add_argument("--only", default="", help="regular expression that names of faults must match")
    parser.add_argument("--again", action="store_true", help="also those that were done")
    parser.add_argument("--table", action="store_true", help="print the results so far, and do nothing")
    options = parser.parse_args()
    kept = options.data / "results.jsonl"
    if not options.table:
        done = set() if options.again else {one.fault for one in read(kept)}
        wanted = {
            name: strike
            for name, strike in faults().items()
            if re.search(options.only, name) and name not in done
        }
        with ExitStack() as exits:
            root = exits.enter_context(small_disk(options.data / "repository"))
            stack = exits.enter_context(fault_stack(StackConfig(options.data, root, Ports.free())))
            for name, strike in wanted.items():
                try:
                    result = inject(stack, name, strike)
                except (TimeoutError, httpx.HTTPError, StackError) as error:
                    print(f"{name} was not measured: {error!r}", flush=True)
                    continue
                finally:
                    set_clock_right(stack)
                with kept.open("a") as file:
                    file.write(json.dumps(asdict(result)) + "\n")
                print(table([result]).splitlines()[-1], flush=True)
    print(table(read(kept)))


def read(path: Path) -> list[Result]:
    """The newest result of each fault."""
    lines = path.read_text().splitlines() if path.exists() else []
    newest = {one["fault"]: Result(**one) for one in map(json.loads, lines)}
    return [newest[name] for name in faults() if name in newest]


@contextmanager
def small_disk(root: Path) -> Iterator[Path]:
    """A disk of its own for the repository, which a fault may fill; it lasts as long as this program."""
    root.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(root)]
    subprocess.run(command, check=True)
    try:
        yield root
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=True)


if __name__ == "__main__":
    main()
