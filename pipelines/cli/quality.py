"""`maskloop quality`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options import CHECKPOINT

if TYPE_CHECKING:
    import pandas as pd

    from pipelines.quality import QualityConfig
    from pipelines.quality.contradiction import Judge


def quality(
    root: Annotated[Path, typer.Option(help="repository that retrains: it has the masks")] = Path(),
    out: Annotated[
        Path | None, typer.Option(help="folder of table and page; reports/ of the repository")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="masks that a model is asked about, newest first; 0: none")
    ] = None,
    folds: Annotated[
        int, typer.Option(help="cross-validate: as many models are trained, and asked about all masks")
    ] = 0,
    checkpoint: Annotated[
        Path, typer.Option(help="model that never learnt from these masks: is asked, or folds start from it")
    ] = CHECKPOINT,
    record: Annotated[bool, typer.Option(help="set aside what is found: commit it as a snapshot")] = False,
    label_studio: Annotated[
        str, typer.Option(envvar="MASKLOOP_LABEL_STUDIO_URL", help="address of Label Studio, for links")
    ] = "",
    tab: Annotated[bool, typer.Option(help="keep a tab with these tasks in Label Studio's project")] = False,
    token: Annotated[str, typer.Option(envvar="MASKLOOP_LABEL_STUDIO_TOKEN", help="its token")] = "",
    project: Annotated[
        int | None, typer.Option(envvar="MASKLOOP_LABEL_STUDIO_PROJECT", help="number of the project")
    ] = None,
) -> None:
    """Look at all collected masks, and show those that train no model until a person has seen to them."""
    from pipelines.quality import QualityConfig
    from pipelines.quality.command import look_again

    config = QualityConfig.read(root)
    judge, config = _judge(root, config, limit, folds, checkpoint)
    looked = look_again(root.resolve(), config, judge, record, out or root / "reports", label_studio)
    typer.echo(f"snapshot {looked.snapshot.name}: {looked.review}")
    if looked.review.findings:
        typer.echo("they are recorded" if record else "they are not recorded, so they train: give --record")
    typer.echo("\n".join(_lines(looked.findings, looked.review.agreement)))
    for file in looked.files:
        typer.echo(f"written: {file}")
    if tab:
        _show_tab(label_studio, token, project, looked.findings)


def _judge(
    root: Path, config: "QualityConfig", limit: int | None, folds: int, checkpoint: Path
) -> "tuple[Judge | None, QualityConfig]":
    """Who is asked, and about how many masks."""
    from dataclasses import replace

    from maskloop.predictor import Predictor
    from pipelines.quality.contradiction import Reviewer
    from pipelines.quality.folds import Folds, training_of

    if folds:
        everything = limit if limit is not None else 10**9
        return Folds(checkpoint, folds, training_of(root)), replace(config, limit=everything)
    config = config if limit is None else replace(config, limit=limit)
    if not config.limit:
        return None, config
    predictor = Predictor.load(checkpoint)
    return Reviewer(predictor, predictor.version), config


def _lines(findings: "pd.DataFrame", agreement: "pd.DataFrame") -> Iterator[str]:
    """What waits for a person, and how much annotators agree, for the screen."""
    from pipelines.quality.page import MEANINGS

    yield ""
    yield f"{len(findings)} masks wait for a person" + (":" if len(findings) else "")
    for reason in MEANINGS:
        for row in findings[findings["reason"] == reason].itertuples():
            place = f"task {row.task_id}, annotation {row.annotation_id}, region {row.region_id}"
            yield f"  {reason:<10}  {place} ({row.label}): {row.detail}"
    if not agreement.empty:
        yield ""
        yield "agreement between annotators:"
        shown = agreement.rename(columns={"boundary_iou": "boundary IoU", "iou": "IoU"})
        shown = shown.rename(columns={"other_label": "other label"})
        yield shown.to_string(float_format="{:.2f}".format, index_names=False, na_rep="-")
    yield ""


def _show_tab(label_studio: str, token: str, project: int | None, findings: "pd.DataFrame") -> None:
    from pipelines.label_studio.client import LabelStudio
    from pipelines.label_studio.connection import find_project
    from pipelines.quality.view import ensure_view

    if not (label_studio and token):
        raise typer.BadParameter("a tab needs --label-studio and --token, and --project")
    with LabelStudio(label_studio, token) as client:
        typer.echo(str(ensure_view(client, int(find_project(client, project)["id"]), findings)))
