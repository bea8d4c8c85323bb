"""Triggers: seconds from what somebody does to a retrain that runs, and how many runs that makes.

    python -m benchmarks.triggers

A real Label Studio, backend, Prefect server and worker; the retrains are small. The events' trigger comes
first: it is deaf for its whole window afterwards.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from benchmarks.fault_stack import PATIENT, FaultStack, fault_stack
from pipelines.label_studio.client import LabelStudio
from pipelines.stack.config import Ports, StackConfig
from pipelines.stack.prefect_api import prefect_command

MASKS = 30
MINUTES_15 = 900.0
Run = dict[str, Any]


def runs(stack: FaultStack) -> dict[str, Run]:
    """All runs that are due, by id."""
    answer = httpx.post(f"{stack.config.prefect_api}/flow_runs/filter", json={}, **PATIENT)
    return {run["id"]: run for run in answer.raise_for_status().json() if run["state_name"] != "Scheduled"}


def measure(stack: FaultStack, name: str, deed: Callable[[], object]) -> str:
    """Do it, and wait until a run that it started runs; a line of the table."""
    before = set(runs(stack))
    start = time.monotonic()
    deed()
    told = time.monotonic() - start

    def started() -> Run | None:
        new = [run for key, run in runs(stack).items() if key not in before]
        return next((run for run in new if run["start_time"]), None)

    stack.wait(lambda: started() is not None, MINUTES_15, f"a run by {name}")
    seconds = time.monotonic() - start
    run = started() or {}
    end = stack.await_end(run["id"])
    every_minute(stack, False)
    new = [key for key in runs(stack) if key not in before]
    ends = [stack.await_end(key)["name"] for key in new]
    made = ", ".join(f"{ends.count(one)} {one}" for one in sorted(set(ends)))
    message = "".join(str(end["message"] or "").splitlines()[-1:])
    return f"| {name} | {told:.1f} s | {seconds:.0f} s | {made} | {message} |"


def annotate_in_two(stack: FaultStack) -> None:
    """More masks than the trigger wants, in a burst of annotations."""
    for _ in range(4):
        stack.annotate(MASKS // 2)


def train_button(stack: FaultStack) -> None:
    with LabelStudio(stack.config.label_studio_url, stack.config.secrets.token) as client:
        client.train(stack.backend)


def every_minute(stack: FaultStack, active: bool) -> None:
    """Let the deployment have a schedule, in place of its own, or none."""
    command = ["deployment", "schedule"]
    if active:
        create = ["create", "retrain/retrain", "--cron", "* * * * *", "--replace", "--accept-yes"]
        prefect_command(stack.config, *command, *create)
    else:
        prefect_command(stack.config, *command, "clear", "retrain/retrain", "--accept-yes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "maskloop-triggers")
    options = parser.parse_args()
    config = StackConfig(options.data, options.data / "repository", Ports.free())
    with fault_stack(config, events=True) as stack:
        print("| what is done | it takes | a run runs after | runs that it made | what the first one says |")
        print("| --- | --- | --- | --- | --- |")
        ways: dict[str, Callable[[], object]] = {
            f"{4 * (MASKS // 2)} masks in Label Studio": lambda: annotate_in_two(stack),
            "Train button": lambda: train_button(stack),
            "by hand": lambda: prefect_command(config, "deployment", "run", "retrain/retrain"),
            "2 masks, then a schedule each minute": lambda: (stack.annotate(), every_minute(stack, True)),
        }
        for name, deed in ways.items():
            print(measure(stack, name, deed), flush=True)


if __name__ == "__main__":
    main()
