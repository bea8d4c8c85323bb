import httpx
import pytest

from pipelines.stack.errors import StackError
from pipelines.stack.prefect_api import bury_lost_runs, flow_log, flow_state, prefect_command
from pipelines.stack.up import Stack

pytestmark = pytest.mark.stack


def test_prefect_command__deployment_is_there(stack: Stack) -> None:
    assert "retrain/retrain" in prefect_command(stack.config, "deployment", "ls")


def test_prefect_command__deployment_is_unknown(stack: Stack) -> None:
    with pytest.raises(StackError, match="`prefect deployment run no/such` ended with code 1"):
        prefect_command(stack.config, "deployment", "run", "no/such")


def test_bury_lost_runs(stack: Stack) -> None:
    """A run that was under way when its stack was killed must not hold the only place of the deployment."""
    api = stack.config.prefect_api
    named = {"flows": {"name": {"any_": ["retrain"]}}}
    (flow,) = httpx.post(f"{api}/flows/filter", json=named, trust_env=False).json()
    made = {"flow_id": flow["id"], "state": {"type": "RUNNING"}}
    run = httpx.post(f"{api}/flow_runs/", json=made, trust_env=False).json()["id"]

    bury_lost_runs(stack.config)

    assert flow_state(stack.config, run)["type"] == "CRASHED"
    assert flow_log(stack.config, run, 0) == []
