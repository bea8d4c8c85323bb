"""The part of Prefect's HTTP interface, and of its command, that the stack needs."""

import os
import subprocess
import sys
import time
from typing import Any

import httpx

from pipelines.stack import catalog
from pipelines.stack.config import StackConfig
from pipelines.stack.errors import StackError

FINAL_STATES = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
STARTED_STATES = ["PENDING", "RUNNING", "CANCELLING"]
BUSY_SECONDS = 120.0
"""How long a server may say 503, as it does while others write into its SQLite database."""


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
            path = f"deployments/{deployment['id']}/schedules/{schedule['id']}"
            _ask(config, "PATCH", path, {"active": False})


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
    return dict(_ask(config, "GET", f"flow_runs/{run}").json()["state"])


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
    return _ask(config, "POST", path, body).json()


def _ask(config: StackConfig, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
    """The server's answer; a busy one is asked again. StackError when it refuses or cannot be reached."""
    url = f"{config.prefect_api}/{path}"
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            answer = httpx.request(method, url, json=body, timeout=60.0, trust_env=False)
        except httpx.TransportError as error:
            raise StackError(f"Prefect does not answer {method} {url}: {error!r}") from error
        if answer.is_success:
            return answer
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
            raise StackError(
                f"Prefect answered {method} {url} with {answer.status_code}: {answer.text[:500]}"
            )
        time.sleep(1.0)
