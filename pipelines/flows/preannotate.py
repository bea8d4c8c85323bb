"""The pre-annotation flow: masks by the champion for every task of a project that has none of its yet.

A run that was cut off is started again, and goes on with the tasks that are left.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from pipelines import preannotation
from pipelines.labelstudio import LabelStudioProject
from pipelines.registry import Registry
from pipelines.settings import Settings
from pipelines.stack.label_studio import LabelStudio


@flow(name="preannotate")
def preannotate(source: str = preannotation.AUTO, label: str | None = None, limit: int = 20) -> State[Any]:
    """Pre-annotate the project of the worker's settings with the champion.

    Args:
        source: `auto` finds objects by itself; `boxes` makes a mask of each rectangle that a task holds.
        label: of what is found by itself; None: the only one of the project.
        limit: masks an image that are found by itself, at most.
    """
    settings = Settings.from_environment()
    url, token, project = (
        settings.label_studio_url,
        settings.label_studio_token,
        settings.label_studio_project,
    )
    with TemporaryDirectory() as scratch, LabelStudio(url, token) as client:
        model = preannotation.champion(Registry(settings.mlflow_url, settings.model), Path(scratch))
        outcome = preannotation.preannotate(
            client,
            LabelStudioProject(url, token, project),
            project,
            model,
            preannotation.plan(source, label, limit),
            get_run_logger().info,
        )
    text = "\n".join([f"{model.version}: {outcome}", "", *(f"- {failure}" for failure in outcome.failed)])
    create_markdown_artifact(text, key="preannotate", description=f"by {model.version}")
    return Completed(message=f"{model.version}: {outcome}")
