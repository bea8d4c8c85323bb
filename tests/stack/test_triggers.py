"""A mask that is submitted in Label Studio starts a retrain, through webhook, backend and Prefect."""

import time
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from pipelines.data.samples import load_samples
from pipelines.label_studio import connection
from pipelines.label_studio.connection import Wanted
from pipelines.label_studio.interface import build_interface
from pipelines.stack import catalog
from pipelines.stack.labeler import painted
from pipelines.stack.prefect_api import FINAL_STATES
from pipelines.stack.services import Services, free_ports
from pipelines.stack.up import Stack

pytestmark = pytest.mark.stack

PATIENCE = 180.0


def event_runs(stack: Stack) -> dict[str, dict]:
    """Runs that an automation made, by their ids."""
    api = stack.config.prefect_api
    runs = httpx.post(f"{api}/flow_runs/filter", json={}, trust_env=False).raise_for_status().json()
    return {run["id"]: run for run in runs if (run["created_by"] or {}).get("type") == "AUTOMATION"}


def test_annotation_starts_one_run(stack: Stack, tmp_path: Path) -> None:
    """Sixty masks at once: the trigger wants 25, and is deaf for the rest of its window.

    The masks are of another project than the one that is trained on, so the run finds that and ends early.
    """
    config = stack.config
    (port,) = free_ports(1)
    forwarding = replace(config, ports=replace(config.ports, backend=port))
    client = stack.label_studio
    number = client.create_project(title="triggers", label_config=build_interface(["Object"]))["id"]
    (photo, *_) = load_samples()
    client.upload(number, f"{photo.name}{photo.suffix}", photo.image_bytes)
    with Services() as services:
        services.start(
            replace(catalog.backend(forwarding, forward_events=True), log=tmp_path / "backend.log")
        )
        wanted = Wanted(forwarding.backend_url, ("Object",), webhook_secret=config.secrets.webhook)
        assert list(connection.connect(client, number, wanted))
        (task,) = client.tasks(number)
        before = set(event_runs(stack))
        client.submit(task["id"], [painted(np.eye(20, dtype=bool)) for _ in range(60)], 1.0)
        (run,) = await_end(stack, before)
    assert run["parameters"] == {"reason": "new masks", "minimum": 25}
    assert run["state"]["type"] == "COMPLETED"
    assert "fewer than 25: nothing to do" in run["state"]["message"]


def await_end(stack: Stack, before: set[str]) -> list[dict]:
    """The runs that are new, once one of them has ended."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        runs = [run for key, run in event_runs(stack).items() if key not in before]
        if any(run["state"]["type"] in FINAL_STATES for run in runs):
            return runs
        time.sleep(0.5)
    raise AssertionError(f"no run ended within {PATIENCE:.0f} s: {event_runs(stack)}")
