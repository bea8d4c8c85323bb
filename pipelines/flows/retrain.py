"""The retrain flow: new masks in; a challenger trained and measured; promoted if it needs fewer clicks.

Only what reads Label Studio is retried: it waits until that is back. A whole run is never retried by Prefect,
as that gives the concurrency slot away; it is started again, and finds what the last one finished.
"""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger, task
from prefect.artifacts import Artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.runtime import deployment, flow_run
from prefect.states import Completed

from maskloop.errors import JournalError
from pipelines import quality, retraining
from pipelines.backlog import masks_waiting
from pipelines.clicks import CLICKS, collect_trails, report_clicks
from pipelines.data import collect, split
from pipelines.data.snapshot import Snapshot, read_snapshot
from pipelines.errors import RegistryError
from pipelines.flows.queue import take_over
from pipelines.label_studio.client import LabelStudio
from pipelines.label_studio.project import LabelStudioProject
from pipelines.promotion.decisions import Record
from pipelines.promotion.gate import Decision
from pipelines.promotion.registry import Registry
from pipelines.promotion.version import Version
from pipelines.settings import Settings
from pipelines.space import check_space
from pipelines.stack.errors import StackError
from pipelines.stages.params import read_params
from pipelines.versioning import (
    TRAINED_BRANCH,
    Worktree,
    branch_commit,
    masks_trained,
    move_branch,
    open_worktree,
)

# Label Studio may be starting anew
PATIENT: dict[str, Any] = {"retries": 3, "retry_delay_seconds": [5, 20, 60]}


@flow(name="retrain")
def retrain(reason: str = "by hand", minimum: int = 1) -> State[Any]:
    """Retrain on what people labelled.

    Args:
        reason: is recorded with the version.
        minimum: masks that must be new since the last retrain; with fewer the run ends early, completed.
    """
    settings = Settings.from_environment()
    registry = Registry(settings.mlflow_url, settings.model)
    logger = get_run_logger()
    replace_waiting(minimum)
    waiting = count_waiting(settings)
    if waiting < minimum:
        return Completed(message=f"{waiting} new masks, fewer than {minimum}: nothing to do")
    check_space(settings.root, settings.spare_mb)
    with open_worktree(settings.root, _name(), logger.info) as worktree:
        collected = collect_masks(settings, worktree)
        new = collected.snapshot.masks - masks_trained(settings.root)
        if new < minimum:
            return Completed(message=f"{new} new masks, fewer than {minimum}: nothing to do")
        snapshot = assign_splits(worktree, collected.snapshot)
        snapshot = review_masks(settings, worktree, registry, snapshot)
        check_space(worktree.path, settings.spare_mb)
        commit_snapshot(worktree, snapshot)
        champion = place_champion(worktree, registry)
        if settings.journal:
            count_clicks(settings, worktree)
        reproduce(worktree, reason)
        challenger = register(worktree, registry, reason)
        decision = judge(worktree, registry, challenger, champion)
    return Completed(message=f"version {challenger.number}: {decision.reason}")


@task(cache_policy=NO_CACHE)
def replace_waiting(minimum: int) -> None:
    """Triggers that came while the last run was under way are one reason to retrain, not several."""
    if not deployment.id:
        return
    with get_client(sync_client=True) as client:
        number = take_over(client, UUID(flow_run.id), UUID(deployment.id), minimum)
    if number:
        get_run_logger().info("%d waiting runs are cancelled: this one does their work", number)


@task(cache_policy=NO_CACHE, **PATIENT)
def count_waiting(settings: Settings) -> int:
    waiting = masks_waiting(_project(settings), settings.root)
    get_run_logger().info("about %d masks wait to be trained on", waiting)
    return waiting


@task(cache_policy=NO_CACHE, **PATIENT)
def collect_masks(settings: Settings, worktree: Worktree) -> collect.Collected:
    logger = get_run_logger()
    trails = collect_trails(settings.journal, settings.root / CLICKS, logger.warning)
    collected = collect.collect(
        _project(settings), worktree.path, read_snapshot(worktree.path), trails.clicks
    )
    for reason in collected.dropped:
        logger.warning("left out: %s", reason)
    if collected.unseen:
        logger.warning(
            "tasks %s changed before the time of the last collect: was Label Studio's clock put back?",
            ", ".join(map(str, collected.unseen)),
        )
    logger.info("%d masks are new, %d in all", collected.masks, collected.snapshot.masks)
    return collected


@task(cache_policy=NO_CACHE)
def assign_splits(worktree: Worktree, snapshot: Snapshot) -> Snapshot:
    """Decide for good which of the new images are trained on."""
    params = read_params(worktree.path, "prepare")
    names = ("test_percent", "rendered", "base", "base_images")
    assigned = split.assign(worktree.path, snapshot, *(params[name] for name in names))
    new = sum(shard.rows for shard in assigned.splits) - sum(shard.rows for shard in snapshot.splits)
    get_run_logger().info("%d images have got their split", new)
    return assigned


@task(cache_policy=NO_CACHE)
def review_masks(settings: Settings, worktree: Worktree, registry: Registry, snapshot: Snapshot) -> Snapshot:
    """Set aside what must not train a model, and tell people; what cannot be told is no reason to stop."""
    logger = get_run_logger()
    try:
        champion = quality.champion(registry, worktree.path)
    except RegistryError as error:
        logger.warning("no model is asked about the new masks: %s", error)
        champion = None
    reviewed = quality.review_new(worktree.path, snapshot, champion)
    logger.info("%s; %d wait for a person", reviewed.review, len(reviewed.waiting))
    table: Any = reviewed.waiting[list(quality.SHOWN)].to_dict("records")
    create_table_artifact(table, key="findings", description=str(reviewed.review))
    try:
        with LabelStudio(settings.label_studio_url, settings.label_studio_token) as client:
            logger.info("%s", quality.ensure_view(client, settings.label_studio_project, reviewed.waiting))
    except StackError as error:
        logger.warning("Label Studio does not show what waits: %s", error)
    return reviewed.snapshot


@task(cache_policy=NO_CACHE)
def commit_snapshot(worktree: Worktree, snapshot: Snapshot) -> None:
    commit = worktree.commit_snapshot(snapshot)
    get_run_logger().info("snapshot %s is commit %s", snapshot.name, commit)


@task(cache_policy=NO_CACHE)
def place_champion(worktree: Worktree, registry: Registry) -> Version:
    champion = retraining.place_champion(worktree, registry)
    get_run_logger().info("the champion is version %d", champion.number)
    return champion


@task(cache_policy=NO_CACHE)
def count_clicks(settings: Settings, worktree: Worktree) -> None:
    """How many clicks people needed; a journal that cannot be read is no reason not to retrain."""
    logger = get_run_logger()
    try:
        figures = report_clicks(settings.journal, settings.root / CLICKS, worktree.path)
    except JournalError as error:
        logger.warning("real clicks are not counted: %s", error)
    else:
        logger.info("real clicks: %s", figures)


@task(cache_policy=NO_CACHE)
def reproduce(worktree: Worktree, reason: str) -> None:
    retraining.reproduce(worktree, reason)


@task(cache_policy=NO_CACHE)
def register(worktree: Worktree, registry: Registry, reason: str) -> Version:
    return retraining.register(worktree, registry, reason)


@task(cache_policy=NO_CACHE)
def judge(worktree: Worktree, registry: Registry, challenger: Version, champion: Version) -> Decision:
    """Decide, record the decision, and let the challenger serve if it needs fewer clicks."""
    by = f"flow run {flow_run.name} ({flow_run.id})"
    decision = retraining.judge(worktree, registry, challenger, champion, by, _show)
    # only now: what a run that is cut off before has learnt, the next one learns again
    before = branch_commit(worktree.root, TRAINED_BRANCH)
    move_branch(worktree.root, TRAINED_BRANCH, worktree.commit_id, before)
    get_run_logger().info("version %d: %s", challenger.number, decision.reason)
    return decision


def _project(settings: Settings) -> LabelStudioProject:
    return LabelStudioProject(
        settings.label_studio_url, settings.label_studio_token, settings.label_studio_project
    )


def _show(record: Record, page: str) -> None:
    """The record's page as an artifact, once."""
    shown = Artifact.get(record.key)
    if getattr(shown, "description", None) != record.decision.reason:  # of none there is no description
        create_markdown_artifact(page, key=record.key, description=record.decision.reason)


def _name() -> str:
    """Name of this attempt: when, and which run of Prefect's."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{str(flow_run.id or 'local')[:8]}"
