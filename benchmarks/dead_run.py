"""Seconds until Prefect calls a run dead whose process was killed, with nobody left to report it.

PREFECT_API_URL=http://127.0.0.1:4200/api python -m benchmarks.dead_run
"""

import os
import subprocess
import sys
import time
from typing import Any

import httpx
from prefect.client.orchestration import get_client

from pipelines.flows.automations import FLOWS, HEARTBEAT, apply

FLOW = f"""
import time
from prefect import flow
from prefect.runtime import flow_run

@flow(name={FLOWS[0]!r})
def idle():
    print("RUN", flow_run.id, flush=True)
    time.sleep(3600)

idle()
"""
PATIENCE = 900.0


def main() -> None:

    with get_client(sync_client=True) as client:
        print(*apply(client), sep="\n")
    environment = os.environ | {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT.seconds)}
    command = [sys.executable, "-c", FLOW]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        run = next(line.split()[1] for line in process.stdout or () if line.startswith("RUN"))
        time.sleep(HEARTBEAT.seconds + 10)
        print(f"run {run} is {state(run)['name']}")
        process.kill()
    start = time.monotonic()
    while state(run)["type"] == "RUNNING" and time.monotonic() - start < PATIENCE:
        time.sleep(1)
    print(f"{time.monotonic() - start:.0f} s after SIGKILL: {state(run)['name']}, {state(run)['message']}")


def state(run: str) -> dict[str, Any]:
    url = f"{os.environ['PREFECT_API_URL']}/flow_runs/{run}"
    return dict(httpx.get(url, timeout=120.0, trust_env=False).raise_for_status().json()["state"])


if __name__ == "__main__":
    main()
