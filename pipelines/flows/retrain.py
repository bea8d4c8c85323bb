"""The retrain flow: new masks in; a challenger trained and measured; promoted if it needs fewer clicks.

Only collecting is retried: it waits for Label Studio. A whole run is never retried by Prefect, as that gives
the concurrency slot away; it is started again, and finds what the last one finished.
"""

from datetime import UTC, datetime
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import Artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from maskloop.errors import JournalError
from pipelines import collect, retraining
from pipelines.clicks import CLICKS, report_clicks
from pipelines.decisions import Record
from pipelines.gate import Decision
from pipelines.labelstudio import LabelStudioProject
from pipelines.registry import Registry, Version
from pipelines.settings import Settings
from pipelines.snapshot import Snapshot, read_snapshot
from pipelines.versioning import (
    TRAINED_BRANCH,
    Worktree,
    branch_commit,
    masks_trained,
    move_branch,
    open_worktree,
)


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
    with open_worktree(settings.root, _name(), logger.info) as worktree:
        collected = collect_masks(settings, worktree)
        new = collected.snapshot.masks - masks_trained(settings.root)
        if new < minimum:
            return Completed(message=f"{new} new masks, fewer than {minimum}: nothing to do")
        commit_snapshot(worktree, collected.snapshot)
        champion = place_champion(worktree, registry)
        if settings.journal:
            count_clicks(settings, worktree)
        reproduce(worktree, reason)
        challenger = register(worktree, registry, reason)
        decision = judge(worktree, registry, challenger, champion)
    return Completed(message=f"version {challenger.number}: {decision.reason}")


@task(cache_policy=NO_CACHE, retries=3, retry_delay_seconds=[5, 20, 60])
def collect_masks(settings: Settings, worktree: Worktree) -> collect.Collected:
    logger = get_run_logger()
    project = LabelStudioProject(
        settings.label_studio_url, settings.label_studio_token, settings.label_studio_project
    )
    collected = collect.collect(project, worktree.path, read_snapshot(worktree.path))
    for reason in collected.dropped:
        logger.warning("left out: %s", reason)
    logger.info("%d masks are new, %d in all", collected.masks, collected.snapshot.masks)
    return collected


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


def _show(record: Record, page: str) -> None:
    """The record's page as an artifact, once."""
    shown = Artifact.get(record.key)
    if getattr(shown, "description", None) != record.decision.reason:  # of none there is no description
        create_markdown_artifact(page, key=record.key, description=record.decision.reason)


def _name() -> str:
    """Name of this attempt: when, and which run of Prefect's."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{str(flow_run.id or 'local')[:8]}"
