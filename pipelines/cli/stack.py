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


def doctor(data: DataOption = None) -> None:
    """Look for what is wrong with this machine or the running stack, and name the remedy."""
    from pipelines.stack.doctor import doctor as run

    run(data)
