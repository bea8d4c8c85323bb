"""The part of Prefect's HTTP interface, and of its command, that the stack needs."""

import os
import subprocess
import sys
from typing import Any

import httpx

from pipelines.stack import catalog
from pipelines.stack.config import StackConfig
from pipelines.stack.errors import StackError

FINAL_STATES = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
STARTED_STATES = ["PENDING", "RUNNING", "CANCELLING"]


def prefect_command(config: StackConfig, *arguments: str) -> str:
    """Run `prefect` against this stack's server, in its repository; returns what it printed.

    Raises StackError with its output when it fails.
    """
    return _python(config, "prefect", *arguments)


def deploy(config: StackConfig, schedules: bool) -> None:
    """Bring deployments and automations up to date; `schedules` says whether those run."""
    prefect_command(config, "--no-prompt", "deploy", "--all")
    _python(config, "pipelines.flows.automations")
    if not schedules:
        stop_schedules(config)


def stop_schedules(config: StackConfig) -> None:
    for deployment in _post(config, "deployments/filter", {}):
        for schedule in deployment["schedules"]:
            url = f"{config.prefect_api}/deployments/{deployment['id']}/schedules/{schedule['id']}"
            answer = httpx.patch(url, json={"active": False}, timeout=60.0, trust_env=False)
            answer.raise_for_status()


def _python(config: StackConfig, module: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=config.root,
        env={**os.environ, **catalog.prefect_environment(config)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    output = done.stdout + done.stderr
    if done.returncode:
        command = " ".join([module, *arguments])
        raise StackError(f"`{command}` ended with code {done.returncode}:\n{output}")
    return output


def flow_state(config: StackConfig, run: str) -> dict[str, Any]:
    """The state of a flow run: `type`, `name`, `message`."""
    answer = httpx.get(f"{config.prefect_api}/flow_runs/{run}", timeout=60.0, trust_env=False)
    return dict(answer.raise_for_status().json()["state"])


def flow_log(config: StackConfig, run: str, offset: int) -> list[str]:
    """The log lines of a flow run from number `offset` on."""
    query = {"logs": {"flow_run_id": {"any_": [run]}}, "offset": offset, "sort": "TIMESTAMP_ASC"}
    return [str(entry["message"]) for entry in _post(config, "logs/filter", query)]


def bury_lost_runs(config: StackConfig) -> None:
    """Call runs crashed that were under way when an earlier stack was cut off.

    No worker of this server lives yet, so none of them does; they would hold the place of the next run.
    """
    state = {"type": "CRASHED", "name": "Crashed", "message": "The stack was stopped while this ran."}
    query = {"flow_runs": {"state": {"type": {"any_": STARTED_STATES}}}}
    for run in _post(config, "flow_runs/filter", query):
        _post(config, f"flow_runs/{run['id']}/set_state", {"state": state, "force": True})


def _post(config: StackConfig, path: str, body: dict[str, Any]) -> Any:
    answer = httpx.post(f"{config.prefect_api}/{path}", json=body, timeout=60.0, trust_env=False)
    return answer.raise_for_status().json()
