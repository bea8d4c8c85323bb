"""Automations: what Prefect's server does by itself about runs that are dead.

    python -m pipelines.flows.automations

applies what is declared here, as often as one likes. A deployment's triggers in `prefect.yaml` can only
start runs, so what changes a run's state stands here. A run whose flow and worker were killed says nothing
any more: without this it would be Running, and in the way of the next, for ever.
"""

from datetime import timedelta

from prefect.automations import AutomationCore, EventTrigger, Posture
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState

FLOWS = ["retrain", "preannotate", "prioritize", "evaluate"]
"""Whose deployments beat every HEARTBEAT; one that beats less often would be called dead in between."""
HEARTBEAT = timedelta(seconds=30)
"""PREFECT_FLOWS_HEARTBEAT_FREQUENCY in `prefect.yaml`; Prefect allows no shorter one."""
SILENCE = 4 * HEARTBEAT
START = timedelta(minutes=10)
"""More than a process, or a container, needs from being given its place to running."""
ENDS = ["Completed", "Failed", "Cancelled", "Crashed"]


def automations() -> list[AutomationCore]:
    silent = _overdue(
        "prefect.flow-run.heartbeat",
        ["prefect.flow-run.heartbeat", *(f"prefect.flow-run.{state}" for state in ENDS)],
        SILENCE,
    )
    stuck = _overdue(
        "prefect.flow-run.Pending",
        [f"prefect.flow-run.{state}" for state in ("Running", "AwaitingConcurrencySlot", *ENDS)],
        START,
    )
    return [
        _crash("maskloop: dead run", silent, f"No heartbeat for {SILENCE.seconds} s: its process is gone."),
        _crash("maskloop: run never begun", stuck, f"Pending for {START.seconds} s: its worker is gone."),
    ]


def apply(client: SyncPrefectClient) -> list[str]:
    """Create or update each automation by its name; returns what was done."""
    done = []
    for automation in automations():
        known = client.read_automations_by_name(automation.name)
        if known:
            client.update_automation(known[0].id, automation)
        else:
            client.create_automation(automation)
        for extra in known[1:]:
            client.delete_automation(extra.id)
        done.append(f"{'updated' if known else 'created'}  {automation.name}")
    return done


def _overdue(event: str, expected: list[str], within: timedelta) -> EventTrigger:
    """Fires for each of our runs that `event` told of, when none of `expected` follows in time."""
    return EventTrigger(
        posture=Posture.Proactive,
        match={"prefect.resource.id": "prefect.flow-run.*"},
        match_related={"prefect.resource.role": "flow", "prefect.resource.name": FLOWS},
        for_each={"prefect.resource.id"},
        after={event},
        expect=set(expected),
        threshold=1,
        within=within,
    )


def _crash(name: str, trigger: EventTrigger, message: str) -> AutomationCore:
    action = ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message=message, force=False)
    return AutomationCore(name=name, trigger=trigger, actions=[action])


if __name__ == "__main__":
    with get_client(sync_client=True) as prefect:
        print(*apply(prefect), sep="\n")
