"""`maskloop connect` and `maskloop preannotate`."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import CHECKPOINT, CheckpointOption

UrlOption = Annotated[
    str, typer.Option("--label-studio", envvar="MASKLOOP_LABEL_STUDIO_URL", help="address of Label Studio")
]
TokenOption = Annotated[
    str,
    typer.Option(
        envvar="MASKLOOP_LABEL_STUDIO_TOKEN",
        help="its token of either kind; in the environment no list of programs shows it",
    ),
]
ProjectOption = Annotated[
    int | None, typer.Option(envvar="MASKLOOP_LABEL_STUDIO_PROJECT", help="number of the project")
]
TitleOption = Annotated[str | None, typer.Option(help="title of the project, instead of its number")]


def connect(
    label_studio: UrlOption,
    token: TokenOption,
    backend: Annotated[str, typer.Option(help="address of the backend, as Label Studio reaches it")],
    project: ProjectOption = None,
    title: TitleOption = None,
    labels: Annotated[str, typer.Option(help="labels to add, commas between")] = "",
    shape: Annotated[str | None, typer.Option(help="how masks are stored: brush, polygon or bitmask")] = None,
    basic_user: Annotated[str, typer.Option(envvar="MASKLOOP_BASIC_USER", help="user of the backend")] = "",
    basic_password: Annotated[
        str, typer.Option(envvar="MASKLOOP_BASIC_PASSWORD", help="password of the backend")
    ] = "",
    webhook_secret: Annotated[
        str, typer.Option(envvar="MASKLOOP_WEBHOOK_SECRET", help="secret of the backend's webhook")
    ] = "",
    sampling: Annotated[
        str | None, typer.Option(help="order of tasks, such as 'Uncertainty sampling'; left as it is")
    ] = None,
    instruction: Annotated[str | None, typer.Option(help="what labelers are told")] = None,
) -> None:
    """Connect a project of Label Studio with the backend, or bring its connection up to date."""
    from pipelines.label_studio.client import LabelStudio
    from pipelines.label_studio.connection import Wanted, find_project
    from pipelines.label_studio.connection import connect as run

    wanted = Wanted(
        backend_url=backend,
        labels=tuple(label.strip() for label in labels.split(",") if label.strip()),
        shape=shape,
        basic_user=basic_user,
        basic_password=basic_password,
        webhook_secret=webhook_secret,
        sampling=sampling,
        instruction=instruction,
    )
    with LabelStudio(label_studio, token) as client:
        for step in run(client, int(find_project(client, project, title)["id"]), wanted):
            typer.echo(str(step))


def preannotate(
    label_studio: UrlOption,
    token: TokenOption,
    project: ProjectOption = None,
    title: TitleOption = None,
    source: Annotated[
        str, typer.Option("--from", help="auto: find objects; boxes: from rectangles")
    ] = "auto",
    label: Annotated[
        str | None, typer.Option(help="label of what is found; the only one if left out")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="masks an image that are found, at most")] = 20,
    checkpoint: CheckpointOption = CHECKPOINT,
    mlflow: Annotated[
        str, typer.Option(envvar="MASKLOOP_MLFLOW_URL", help="registry whose champion predicts instead")
    ] = "",
) -> None:
    """Store masks for all tasks of a project that have none of this model yet, as predictions."""
    from tempfile import TemporaryDirectory

    from pipelines.label_studio import preannotation
    from pipelines.label_studio.client import LabelStudio
    from pipelines.label_studio.connection import find_project
    from pipelines.label_studio.project import LabelStudioProject

    with TemporaryDirectory() as scratch, LabelStudio(label_studio, token) as client:
        number = int(find_project(client, project, title)["id"])
        model = preannotation.open_model(checkpoint, mlflow, Path(scratch))
        images = LabelStudioProject(label_studio, token, number)
        plan = preannotation.plan(source, label, limit)
        preannotation.preannotate(client, images, number, model, plan, typer.echo)
