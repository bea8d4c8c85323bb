"""`maskloop clicks`."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import pandas as pd

    from pipelines.clicks import Clicks


def clicks(
    journal: Annotated[
        str, typer.Argument(help="folder of the journal (MASKLOOP_JOURNAL), or the service's address")
    ],
    root: Annotated[
        Path, typer.Option(help="repository that retrains: it has the masks that were kept")
    ] = Path(),
    out: Annotated[Path | None, typer.Option(help="folder of the plot; reports/ of the repository")] = None,
) -> None:
    """Count the clicks that people really made for each mask they kept, by label, model version and day."""
    from pipelines.clicks import (
        CLICKS,
        collect_clicks,
        join_clicks,
        open_source,
        read_clicks,
        read_masks,
        write_click_plots,
    )

    new = collect_clicks(open_source(journal), root / CLICKS)
    reading = read_clicks(root / CLICKS)
    typer.echo(
        f"{len(reading.entries)} requests, {new} of them new, {reading.damaged} damaged lines left out"
    )
    found = join_clicks(reading.entries, read_masks(root))
    typer.echo("\n".join(_summary(found)))
    for file in write_click_plots(found, out or root / "reports"):
        typer.echo(f"plot written to {file}")


def _summary(found: "Clicks") -> Iterator[str]:
    """What was found, for the screen."""
    from pipelines.clicks import click_table

    outcomes = found.sessions["outcome"].value_counts()
    yield (
        f"{len(found.masks)} masks kept; of {len(found.sessions)} sessions "
        f"{outcomes.get('given up', 0)} given up, {outcomes.get('pending', 0)} not submitted yet"
    )
    if found.unknown:
        yield f"{found.unknown} masks came from clicks that are not in this journal"
    if found.masks.empty:
        yield "no mask of these clicks has been collected: run a retrain, which collects what was submitted"
    for by in ("model", "label", "day"):
        yield ""
        yield from _lines(click_table(found, by))


def _lines(table: "pd.DataFrame") -> Iterator[str]:
    from pipelines.clicks import COLUMNS

    shown = table.drop(columns=["sessions_given_up"])
    columns = [list(map(str, [shown.index.name, *shown.index]))]
    for column, values in shown.items():
        columns.append([COLUMNS[str(column)], *(_number(str(column), value) for value in values)])
    widths = [max(map(len, cells)) for cells in columns]
    for row in zip(*columns, strict=True):
        first, *others = zip(row, widths, strict=True)
        yield "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])


def _number(column: str, value: float) -> str:
    if math.isnan(value):  # nothing is known
        return "-"
    if column.startswith("share"):
        return f"{100 * value:.0f} %"
    return f"{value:.2f}" if column == "clicks_mean" else f"{value:.0f}"
