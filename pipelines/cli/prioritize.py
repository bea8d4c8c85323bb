"""`maskloop prioritize`."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.connecting import ProjectOption, TitleOption, TokenOption, UrlOption
from pipelines.cli.options import CHECKPOINT, CheckpointOption

PROFILES = Path(".maskloop/profiles.sqlite")


def prioritize(
    label_studio: UrlOption,
    token: TokenOption,
    project: ProjectOption = None,
    title: TitleOption = None,
    strategy: Annotated[str, typer.Option(help="random, entropy, clicks or gain")] = "gain",
    budget: Annotated[float | None, typer.Option(min=1, help="clicks that may be spent")] = None,
    seconds: Annotated[float | None, typer.Option(min=1, help="the budget in seconds instead")] = None,
    pace: Annotated[float, typer.Option(min=0.1, help="seconds that a click takes, for --seconds")] = 3.0,
    masks: Annotated[float, typer.Option(min=0.1, help="objects an image, for a budget")] = 1.0,
    limit: Annotated[
        int | None, typer.Option(min=1, help="unlabelled tasks that are looked at, at most")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="what --fit wrote; the default's if left out")
    ] = None,
    fit: Annotated[
        Path | None,
        typer.Option(help="Parquet of labelled images that the model was not trained on: calibrate by them"),
    ] = None,
    seed: Annotated[int, typer.Option(help="of what is drawn")] = 0,
    profiles: Annotated[Path, typer.Option(help="file in which looks at images are kept")] = PROFILES,
    checkpoint: CheckpointOption = CHECKPOINT,
    mlflow: Annotated[
        str, typer.Option(envvar="MASKLOOP_MLFLOW_URL", help="registry whose champion looks instead")
    ] = "",
) -> None:
    """Put the unlabelled tasks of a project into the order in which they are worth a person's time."""
    from tempfile import TemporaryDirectory

    from maskloop.selection.store import ProfileStore
    from pipelines.label_studio import preannotation, prioritizing
    from pipelines.label_studio.client import LabelStudio
    from pipelines.label_studio.connection import find_project
    from pipelines.label_studio.project import LabelStudioProject

    with TemporaryDirectory() as scratch, LabelStudio(label_studio, token) as client:
        number = int(find_project(client, project, title)["id"])
        model = preannotation.open_model(checkpoint, mlflow, Path(scratch))
        plan = prioritizing.Plan(
            strategy=strategy,
            budget=budget if seconds is None else seconds / pace,
            masks=masks,
            limit=limit,
            calibration=prioritizing.calibration(model, calibration, fit, typer.echo),
            seed=seed,
        )
        images = LabelStudioProject(label_studio, token, number)
        with ProfileStore(profiles, model.sha256) as store:
            prioritizing.prioritize(client, images, number, model, store, plan, typer.echo)
