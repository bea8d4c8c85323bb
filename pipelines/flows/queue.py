"""Queue: runs that wait for the one place of a deployment. Only the first of them has something to do.

While a retrain is under way, triggers go on: each burst of masks, each tick of the schedule asks for another
run. All that they were about is there when the next one collects, so it takes the others away.
"""

from datetime import UTC, datetime
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Cancelled

WAITING = "AwaitingConcurrencySlot"
BY_ITSELF = {"AUTOMATION", "SCHEDULE"}


def take_over(client: SyncPrefectClient, run: UUID, deployment: UUID, minimum: int) -> int:
    """Cancel the runs that wait behind `run` and that nobody asked for in person; returns how many.

    A run that is content with fewer masks than `minimum` stays: it may have something to do when we have not.
    """
    state = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))
    waiting = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=state),
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])),
    )
    superfluous = [one for one in waiting if _is_due(one) and _by_itself(one) and _asks(one) >= minimum]
    for one in superfluous:
        client.set_flow_run_state(
            one.id, Cancelled(message=f"Run {run} does what this one was for."), force=True
        )
    return len(superfluous)


def _is_due(run: FlowRun) -> bool:
    if run.state is not None and run.state.name == WAITING:  # until its next try, which is in the future
        return True
    return run.expected_start_time is not None and run.expected_start_time <= datetime.now(UTC)


def _by_itself(run: FlowRun) -> bool:
    return run.auto_scheduled or (run.created_by is not None and run.created_by.type in BY_ITSELF)


def _asks(run: FlowRun) -> int:
    return int(run.parameters.get("minimum", 1))
