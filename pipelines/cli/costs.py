"""`maskloop model-info`."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskloop.errors import CheckpointError

if TYPE_CHECKING:
    from maskloop.model import ModelConfig
    from maskloop.model.cost import Cost


def model_info(
    config: Annotated[
        str,
        typer.Argument(help="a recipe, a checkpoint's folder, or a variant; `list` names the variants"),
    ],
    size: Annotated[str, typer.Option(help="ROWSxCOLUMNS of the image")] = "320x480",
    clicks: Annotated[int, typer.Option(min=1, help="clicks on it")] = 20,
    repeats: Annotated[int, typer.Option(min=0, help="forward passes that are timed; 0 counts only")] = 5,
    markdown: Annotated[bool, typer.Option("--markdown", help="print a Markdown table")] = False,
) -> None:
    """Print a network's parameters, multiply-accumulates and milliseconds of one pass, stage by stage."""
    if config == "list":
        typer.echo("\n".join(variants()))
        return
    from maskloop.model.cost import measure_cost

    height, width = parse_size(size)
    cost = measure_cost(read_config(config), height, width, clicks, repeats)
    typer.echo("\n".join(_markdown(cost, config) if markdown else _plain(cost, config)))


def variants() -> Mapping[str, "ModelConfig"]:
    """Networks by name: ours, the rows of the ablation, and for each encoder ours, the paper's and RITM's."""
    from maskloop.model import ModelConfig
    from maskloop.model.encoders import ENCODERS
    from pipelines.ablation import ROWS

    named = {"small": ModelConfig()}
    named |= {row.lower(): ModelConfig(**parts) for row, parts in ROWS.items()}
    for encoder in ENCODERS:
        published = ModelConfig(
            encoder=encoder,
            hires_channels=None,
            sign_embedding=False,
            dense_projection=True,
            head="ocr" if encoder.startswith("hrnet") else "deeplab",
        )
        named[encoder] = ModelConfig(encoder=encoder)
        named[f"{encoder}-paper"] = published
        named[f"{encoder}-ritm"] = ModelConfig(
            encoder=encoder, sgn=False, hires="none", head=published.head, cascade="none"
        )
    return named


def read_config(text: str) -> "ModelConfig":
    """The network that a recipe, a checkpoint or a variant describes.

    Raises:
        CheckpointError: it is none of them.
        TrainingError: the recipe cannot be read.
    """
    from maskloop.recipes import read_recipe

    path = Path(text)
    if path.is_dir():
        from maskloop.checkpoint import load_checkpoint

        return load_checkpoint(path).model.config
    if path.suffix in {".yaml", ".yml"}:
        return read_recipe(path).model
    known = variants()
    if text not in known:
        raise CheckpointError(
            f"{text!r} is no recipe (.yaml), no checkpoint's folder and no variant; "
            f"variants are {', '.join(known)}"
        )
    return known[text]


def parse_size(text: str) -> tuple[int, int]:
    """`320x480`: rows and columns."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None or min(int(match[1]), int(match[2])) < 32:
        raise CheckpointError(f"the size {text!r} is not ROWSxCOLUMNS of at least 32; write 320x480")
    return int(match[1]), int(match[2])


def _lines(cost: "Cost") -> Iterator[tuple[str, str, str, str]]:
    for stage in cost.stages:
        yield (
            stage.name,
            f"{stage.parameters / 1e6:.3f}",
            f"{stage.macs / 1e9:.2f}",
            f"{stage.milliseconds:.1f}",
        )
    yield "total", f"{cost.parameters / 1e6:.3f}", f"{cost.macs / 1e9:.2f}", f"{cost.milliseconds:.1f}"


def _title(cost: "Cost", config: str) -> str:
    return f"{config}: one pass at {cost.height} x {cost.width} with {cost.clicks} clicks"


def _plain(cost: "Cost", config: str) -> Iterator[str]:
    yield _title(cost, config)
    yield f"{'':<16}{'parameters, M':>14}{'GMAC':>10}{'ms':>10}"
    for name, *figures in _lines(cost):
        yield f"{name:<16}{figures[0]:>14}{figures[1]:>10}{figures[2]:>10}"


def _markdown(cost: "Cost", config: str) -> Iterator[str]:
    yield _title(cost, config)
    yield ""
    yield "| stage | parameters, M | GMAC | ms |"
    yield "| --- | ---: | ---: | ---: |"
    for line in _lines(cost):
        yield f"| {' | '.join(line)} |"
