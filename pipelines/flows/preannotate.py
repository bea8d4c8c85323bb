"""The pre-annotation flow: masks by the champion for every task of a project that has none of its yet.

A run that was cut off is started again, and goes on with the tasks that are left; so does a shard.
"""

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prefect import flow, get_run_logger, task, unmapped
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from pipelines.flows.shards import task_runner
from pipelines.label_studio import preannotation
from pipelines.label_studio.client import LabelStudio
from pipelines.label_studio.preannotation import Model, Outcome, Plan
from pipelines.label_studio.project import LabelStudioProject
from pipelines.promotion.registry import Registry
from pipelines.settings import Settings


@flow(name="preannotate", task_runner=task_runner())
def preannotate(
    source: str = preannotation.AUTO, label: str | None = None, limit: int = 20, shards: int = 1
) -> State[Any]:
    """Pre-annotate the project of the worker's settings with the champion.

    Args:
        source: `auto` finds objects by itself; `boxes` makes a mask of each rectangle that a task holds.
        label: of what is found by itself; None: the only one of the project.
        limit: masks an image that are found by itself, at most.
        shards: parts of the project, by the numbers of its tasks.
    """
    settings = Settings.from_environment()
    champion = preannotation.champion_version(Registry(settings.mlflow_url, settings.model))
    with LabelStudio(settings.label_studio_url, settings.label_studio_token) as client:
        project = settings.label_studio_project
        parts = preannotation.task_shards(client, project, shards)
        plan = preannotation.plan(source, label, limit)
        done = predict.map(unmapped(settings), unmapped(champion.number), unmapped(plan), parts)
        outcome = sum(done.result(), Outcome())
        preannotation.finish(client, project, champion.served_as, outcome)
    told = f"{champion.served_as}: {outcome}"
    text = "\n".join([told, "", *(f"- {failure}" for failure in outcome.failed)])
    create_markdown_artifact(text, key="preannotate", description=f"by {champion.served_as}")
    return Completed(message=told)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=[5, 20])
def predict(settings: Settings, version: int, plan: Plan, numbers: range) -> Outcome:
    """One shard: the tasks of these numbers."""
    url, token, project = (
        settings.label_studio_url,
        settings.label_studio_token,
        settings.label_studio_project,
    )
    with LabelStudio(url, token) as client:
        return preannotation.predict_tasks(
            client,
            LabelStudioProject(url, token, project),
            project,
            _model(settings.mlflow_url, settings.model, version),
            plan,
            get_run_logger().info,
            numbers,
        )


@lru_cache(maxsize=1)
def _model(url: str, name: str, number: int) -> Model:
    """A version, loaded once in each process."""
    registry = Registry(url, name)
    with TemporaryDirectory() as scratch:
        return preannotation.fetch(registry, registry.version(number), Path(scratch))
