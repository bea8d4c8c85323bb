"""`maskloop predict`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskloop.errors import ClickError
from pipelines.cli.options import CHECKPOINT, CheckpointOption

if TYPE_CHECKING:
    from maskloop.clicks import Click


def predict(
    image: Annotated[Path, typer.Argument(help="photo")],
    click: Annotated[
        list[str], typer.Option(help="X,Y in pixels from the top left; X,Y,- for a negative click")
    ],
    out: Annotated[Path, typer.Option(help="mask, written as a PNG of 0 and 255")],
    checkpoint: CheckpointOption = CHECKPOINT,
) -> None:
    """Predict the mask of the object under the clicks."""
    from maskloop.images import read_image, write_mask
    from maskloop.predictor import Predictor

    clicks = [parse_click(text) for text in click]
    # one click is answered before another engine would be ready
    predictor = Predictor.load(checkpoint, engine="torch")
    prediction = predictor.predict(read_image(image), clicks)
    write_mask(prediction.mask, out)
    typer.echo(f"{int(prediction.mask.sum())} pixels of the object, written to {out} by {predictor.version}")


def parse_click(text: str) -> "Click":
    """`X,Y` or `X,Y,-` or `X,Y,+`."""
    from maskloop.clicks import Click

    match = re.fullmatch(r"\s*([\d.]+)\s*,\s*([\d.]+)\s*(?:,\s*([+-])\s*)?", text)
    if match is None:
        raise ClickError(
            f"the click {text!r} is not X,Y; write 120,80 for a positive and 120,80,- for a negative click"
        )
    return Click(row=float(match[2]), col=float(match[1]), positive=match[3] != "-")
