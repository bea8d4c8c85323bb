"""The demo: the stack for a person; or the whole loop without hands, as a check that can be watched."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from pipelines.data.samples import load_samples
from pipelines.promotion.registry import CHALLENGER, CHAMPION, Registry
from pipelines.promotion.version import Version
from pipelines.stack.config import REPOSITORY, Ports, StackConfig
from pipelines.stack.errors import StackError
from pipelines.stack.labeler import Labeler, Labelled
from pipelines.stack.prefect_api import FINAL_STATES, flow_log, flow_state, prefect_command
from pipelines.stack.project import uploaded_name
from pipelines.stack.services import interrupted_by_signals, log_tail
from pipelines.stack.up import Say, Stack, running_stack, say_now, up

DEPLOYMENT = "retrain/retrain"
RETRAIN_SECONDS = 3600.0
SWITCH_SECONDS = 60.0


@dataclass(frozen=True)
class Outcome:
    """What a demo without hands has seen. `metrics` are those of the challenger's run in MLflow."""

    labelled: list[Labelled]
    before: Version
    after: Version
    metrics: dict[str, float]
    served: str


def demo(headless: bool = False, data: Path | None = None, ports: Ports | None = None) -> None:
    """Run the stack for a person, or with `headless` label, retrain and promote without one.

    Raises:
        StackError: a service cannot be started, or a step of the demo without hands did not happen.
    """
    if headless:
        with interrupted_by_signals():
            check(data)
    else:
        up(StackConfig(data or REPOSITORY / ".maskloop", ports=ports or Ports()))


def check(data: Path | None = None, say: Say = say_now) -> Outcome:
    """Go once round the loop: label every sample, retrain, and see the new champion served.

    Args:
        data: data folder to use and keep; without it a temporary one, which stays only after a failure.
        say: told what happens.
    """
    start = time.monotonic()
    with _workplace(data, say) as place:
        config = StackConfig(place, _clone(place / "repository"), Ports.free())
        with running_stack(config, forward_events=False, say=say) as stack:
            outcome = _go_round(stack, say)
    say(_table(outcome))
    say(f"The whole loop took {time.monotonic() - start:.0f} s.")
    return outcome


def _go_round(stack: Stack, say: Say) -> Outcome:
    registry = Registry(stack.config.mlflow_url)
    before = _holder(registry, CHAMPION)
    _await_version(stack, before)
    labelled = _label_samples(stack, say)
    _retrain(stack, say)
    challenger, after = _holder(registry, CHALLENGER), _holder(registry, CHAMPION)
    if challenger.number == before.number:
        raise StackError("The retrain completed, but registered no challenger.")
    if after.number != challenger.number:
        reason = challenger.tags.get("decision", "no decision is recorded")
        raise StackError(f"Version {challenger.number} was not promoted: {reason}.")
    metrics = dict(registry.client.get_run(challenger.run_id).data.metrics)
    return Outcome(labelled, before, after, metrics, _await_version(stack, after))


def _label_samples(stack: Stack, say: Say) -> list[Labelled]:
    """Label every sample photo through Label Studio; that it holds the annotations is read back."""
    labeler = Labeler(stack.label_studio, stack.backend)
    tasks = {uploaded_name(task): task["id"] for task in stack.label_studio.tasks(stack.project)}
    labelled: list[Labelled] = []
    for photo in load_samples():
        done = labeler.label(tasks[f"{photo.name}{photo.suffix}"], photo)
        labelled += done
        say(f"  {photo.name}: " + ", ".join(f"{one.label} {one.iou:.2f} after {one.clicks}" for one in done))
    bare = [task["id"] for task in stack.label_studio.tasks(stack.project) if not task["annotations"]]
    if bare:
        raise StackError(f"Label Studio holds no annotation of the tasks {bare}, though all were submitted.")
    if not any(one.good for one in labelled):
        raise StackError(f"No mask became good by clicks. {log_tail(stack.config.log('backend'))}")
    return labelled


def _retrain(stack: Stack, say: Say) -> None:
    """Start the flow as a person would, and wait for its end while its log is told."""
    say(f"prefect deployment run {DEPLOYMENT}")
    printed = prefect_command(stack.config, "deployment", "run", DEPLOYMENT)
    run = re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", printed)
    if run is None:
        raise StackError(f"`prefect deployment run {DEPLOYMENT}` named no flow run:\n{printed}")
    state = _await_flow(stack, run[0], say)
    if state["type"] != "COMPLETED":
        tail = log_tail(stack.config.log("worker"))
        raise StackError(f"The retrain ended {state['name']}: {state['message']}. {tail}")
    say(f"The retrain is completed: {state['message']}")


def _await_flow(stack: Stack, run: str, say: Say) -> dict[str, Any]:
    """The final state of a flow run."""
    deadline = time.monotonic() + RETRAIN_SECONDS
    told = 0
    while time.monotonic() < deadline:
        stack.services.check()
        state = flow_state(stack.config, run)
        lines = flow_log(stack.config, run, told)
        told += len(lines)
        for line in lines:
            say(f"  | {line}")
        if state["type"] in FINAL_STATES:
            return state
        time.sleep(3.0)
    tail = log_tail(stack.config.log("worker"))
    raise StackError(f"The retrain did not end within {RETRAIN_SECONDS:.0f} s. {tail}")


def _holder(registry: Registry, alias: str) -> Version:
    version = registry.holder(alias)
    if version is None:
        raise StackError(f"No version of {registry.model} in {registry.url} is the {alias}.")
    return version


def _await_version(stack: Stack, version: Version) -> str:
    """Wait until the backend serves a version; it follows the registry without a restart."""
    wanted = version.served_as
    deadline = time.monotonic() + SWITCH_SECONDS
    while (served := stack.served_version()) != wanted:
        stack.services.check()
        if time.monotonic() > deadline:
            tail = log_tail(stack.config.log("backend"))
            raise StackError(f"The backend still serves {served} and not {wanted}. {tail}")
        time.sleep(0.5)
    return served


@contextmanager
def _workplace(data: Path | None, say: Say) -> Iterator[Path]:
    """The folder of a check; a temporary one is left behind only when the check failed."""
    if data is not None:
        yield data
        return
    place = Path(mkdtemp(prefix="maskloop-"))
    try:
        yield place
    except BaseException:
        say(f"What the demo wrote is kept in {place}.")
        raise
    shutil.rmtree(place)


def _clone(target: Path) -> Path:
    """A clone of the repository, so that retrains leave no branches in the one that a person works in."""
    if not target.exists():
        command = ["git", "clone", "--quiet", str(REPOSITORY), str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StackError(
                f"`{' '.join(command)}` ended with code {done.returncode}: {done.stderr.strip()}"
            )
    return target


def _table(outcome: Outcome) -> str:
    metrics, labelled = outcome.metrics, outcome.labelled
    good = [one for one in labelled if one.good]
    rows = [
        ("objects labelled", str(len(labelled))),
        ("clicks used", str(sum(one.clicks for one in labelled))),
        ("masks good by clicks alone", f"{len(good)} of {len(labelled)}"),
        ("champion before", f"version {outcome.before.number}"),
        *(
            (f"  {name} clicks", f"{metrics[f'champion_noc{name[-2:]}']:.2f}")
            for name in ("NoC@85", "NoC@90")
        ),
        ("champion after", f"version {outcome.after.number}"),
        *((f"  {name} clicks", f"{metrics[f'noc{name[-2:]}']:.2f}") for name in ("NoC@85", "NoC@90")),
        ("served by the backend", outcome.served),
    ]
    return "\n".join(f"{name:<28}{value:>14}" for name, value in rows)
