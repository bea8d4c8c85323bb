"""The prioritizing flow: the champion looks at the unlabelled tasks, and Label Studio follows its order.

A run that was cut off is started again; the images that it had looked at are not looked at again.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from maskloop.selection import GAIN
from maskloop.selection.store import ProfileStore
from pipelines.label_studio import preannotation, prioritizing
from pipelines.label_studio.client import LabelStudio
from pipelines.label_studio.project import LabelStudioProject
from pipelines.promotion.registry import Registry
from pipelines.settings import Settings

PROFILES = Path(".maskloop/profiles.sqlite")


@flow(name="prioritize")
def prioritize(
    strategy: str = GAIN,
    budget: float | None = None,
    masks: float = 1.0,
    limit: int | None = None,
    seed: int = 0,
) -> State[Any]:
    """Rank the unlabelled tasks of the project of the worker's settings.

    Args:
        strategy: one of `maskloop.selection.STRATEGIES`.
        budget: clicks that may be spent; None: all tasks get a place.
        masks: objects that an image has, on average, for a budget.
        limit: unlabelled tasks that are looked at, at most.
        seed: of what is drawn.
    """
    settings = Settings.from_environment()
    url, token = settings.label_studio_url, settings.label_studio_token
    project, say = settings.label_studio_project, get_run_logger().info
    with TemporaryDirectory() as scratch, LabelStudio(url, token) as client:
        model = preannotation.champion(Registry(settings.mlflow_url, settings.model), Path(scratch))
        plan = prioritizing.Plan(
            strategy=strategy,
            budget=budget,
            masks=masks,
            limit=limit,
            labels=prioritizing.collected_labels(settings.root, project),
            seed=seed,
        )
        images = LabelStudioProject(url, token, project)
        with ProfileStore(settings.root / PROFILES, model.sha256) as store:
            outcome = prioritizing.prioritize(client, images, project, model, store, plan, say)
    create_markdown_artifact(
        prioritizing.markdown(outcome, url, project), key="prioritize", description=f"by {model.version}"
    )
    return Completed(message=f"{model.version}: {outcome}")
