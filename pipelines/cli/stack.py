"""`maskloop up`, `maskloop demo` and `maskloop doctor`."""

from pathlib import Path
from typing import Annotated

import typer

DataOption = Annotated[Path | None, typer.Option(help="folder of the stack's data and logs (.maskloop)")]
PortOption = Annotated[int, typer.Option(min=1, max=65535)]


def up(
    data: DataOption = None,
    label_studio_port: PortOption = 8080,
    mlflow_port: PortOption = 5000,
    prefect_port: PortOption = 4200,
    backend_port: PortOption = 9090,
) -> None:
    """Start Label Studio, MLflow, Prefect with a worker, and the backend, with sample photos to label."""
    from pipelines.stack.config import Ports
    from pipelines.stack.demo import demo as run

    run(data=data, ports=Ports(label_studio_port, mlflow_port, prefect_port, backend_port))


def demo(
    data: DataOption = None,
    headless: Annotated[
        bool, typer.Option("--headless", help="go once round the loop without hands, on free ports")
    ] = False,
) -> None:
    """Like `up`; with --headless label the samples, retrain, and see the new champion served."""
    from pipelines.stack.demo import demo as run

    run(headless, data)


def doctor(
    data: DataOption = None,
    label_studio: Annotated[
        str, typer.Option(help="look at a project of this Label Studio instead of the stack")
    ] = "",
    token: Annotated[
        str, typer.Option(envvar="MASKLOOP_LABEL_STUDIO_TOKEN", help="its token, of either kind")
    ] = "",
    project: Annotated[int | None, typer.Option(help="number of the project")] = None,
    backend: Annotated[
        str, typer.Option(help="the backend's address from here, if it is not the one that Label Studio has")
    ] = "",
    mlflow: Annotated[str, typer.Option(help="registry whose champion should be served")] = "",
    task: Annotated[int | None, typer.Option(help="task to click on; the first if left out")] = None,
) -> None:
    """Look for what is wrong with this machine or the running stack, and name the remedy."""
    from pipelines.stack.doctor import doctor as run
    from pipelines.stack.doctor import doctor_links

    if not label_studio:
        run(data)
        return
    if project is None or not token:
        raise typer.BadParameter("--label-studio needs --project, and --token or MASKLOOP_LABEL_STUDIO_TOKEN")
    from pipelines.label_studio.checks import Links
    from pipelines.label_studio.client import LabelStudio

    with LabelStudio(label_studio, token) as client:
        doctor_links(client, Links(project, backend, mlflow, task=task))
