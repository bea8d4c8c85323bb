"""The `maskloop` command. Heavy imports happen inside the commands, so that `--help` answers at once."""

import typer

from maskloop.errors import MaskloopError
from pipelines.cli.clicks import clicks
from pipelines.cli.connecting import connect, preannotate
from pipelines.cli.costs import model_info
from pipelines.cli.measuring import evaluate, report
from pipelines.cli.networks import ablate, train
from pipelines.cli.predicting import predict
from pipelines.cli.prioritize import prioritize
from pipelines.cli.quality import quality
from pipelines.cli.registry import lineage, promote, rollback
from pipelines.cli.stack import demo, doctor, up
from pipelines.cli.status import status

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
COMMANDS = (
    *(predict, evaluate, report, train, ablate, model_info),
    *(up, demo, connect, doctor, preannotate, prioritize, clicks, quality),
    *(status, promote, rollback, lineage),
)
for command in COMMANDS:
    app.command()(command)


@app.callback()
def maskloop() -> None:
    """A labelling loop for object masks that gets better as people label."""


def main() -> None:
    """Entry point: errors that we raise on purpose are one line on the screen and exit status 1."""
    try:
        app()
    except MaskloopError as error:
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        raise SystemExit(1) from error
