"""`maskloop connect` and `maskloop preannotate`."""

from typing import Annotated

import typer

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
    from pipelines.connection import Wanted, find_project
    from pipelines.connection import connect as run
    from pipelines.stack.label_studio import LabelStudio

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
