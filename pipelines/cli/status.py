"""`maskloop status`."""

from pathlib import Path
from typing import Annotated

import typer


def status(
    html: Annotated[Path | None, typer.Option(help="write a page with plots, too")] = None,
    root: Annotated[
        Path | None, typer.Option(help="repository that retrains (MASKLOOP_PROJECT_ROOT, or this folder)")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="folder of the stack's data (.maskloop)")] = None,
    doctor: Annotated[
        bool, typer.Option("--doctor/--no-doctor", help="examine the running stack, which takes some seconds")
    ] = True,
) -> None:
    """Tell where the loop stands: data, last retrain, champion, clicks, and what waits for a person."""
    from pipelines.status import Sources, gather, to_text, write_status

    found = gather(Sources.find(root, data), doctor)
    typer.echo("\n".join(to_text(found)))
    if html:
        write_status(found, html)
        typer.echo(f"page written to {html}")
