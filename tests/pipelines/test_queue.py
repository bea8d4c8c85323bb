"""Which waiting runs a run takes over; that Prefect agrees is seen by `benchmarks.triggers`."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from prefect.client.schemas.objects import CreatedBy, FlowRun
from prefect.states import AwaitingConcurrencySlot, Scheduled, StateType

from pipelines.flows.queue import take_over

NOW = datetime.now(UTC)
SOON = NOW + timedelta(days=1)


class Server:
    """Prefect's client, of which two calls are used."""

    def __init__(self, *runs):
        self.runs = runs
        self.cancelled = []

    def read_flow_runs(self, flow_run_filter, deployment_filter):
        assert flow_run_filter.state.type.any_ == [StateType.SCHEDULED]
        return list(self.runs)

    def set_flow_run_state(self, run, state, force):
        assert state.type is StateType.CANCELLED
        self.cancelled.append(run)


def waiting(minimum=25, by="AUTOMATION", state=None, start=NOW - timedelta(seconds=1), **fields):
    made = CreatedBy(type=by, id=uuid4(), display_value="") if by else None
    state = state or AwaitingConcurrencySlot(scheduled_time=NOW + timedelta(seconds=30))
    parameters = {} if minimum is None else {"minimum": minimum}
    return FlowRun(
        flow_id=uuid4(),
        state=state,
        expected_start_time=start,
        created_by=made,
        parameters=parameters,
        **fields,
    )


def taken_over(*runs, minimum=25):
    server = Server(*runs)
    assert take_over(server, uuid4(), uuid4(), minimum) == len(server.cancelled)
    return server.cancelled


def test_take_over__those_that_triggers_made():
    first, second = waiting(), waiting(by=None, auto_scheduled=True)
    assert taken_over(first, second) == [first.id, second.id]


def test_take_over__a_persons_run_stays():
    assert taken_over(waiting(by=None), waiting(by="USER")) == []


def test_take_over__run_content_with_fewer_masks_stays():
    assert taken_over(waiting(minimum=24), waiting(minimum=None)) == []
    assert len(taken_over(waiting(minimum=25), waiting(minimum=None), minimum=1)) == 2


def test_take_over__future_run_of_a_schedule_stays():
    late = waiting(auto_scheduled=True, state=Scheduled(scheduled_time=SOON), start=SOON)
    due = waiting(auto_scheduled=True, state=Scheduled(scheduled_time=NOW))
    assert taken_over(late, due) == [due.id]
