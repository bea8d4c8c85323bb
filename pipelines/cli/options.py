"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

CHECKPOINT = Path("checkpoints/default")

CheckpointOption = Annotated[Path, typer.Option("--checkpoint", help="folder of a checkpoint")]
DatasetArgument = Annotated[
    str,
    typer.Argument(
        help="parquet, grabcut, berkeley, davis, sbd, coco, coco_mval, ishape or sstem", metavar="DATASET"
    ),
]
RootArgument = Annotated[Path, typer.Argument(help="folder or file of the dataset", metavar="ROOT")]


def dataset_name(name: str, root: Path, split: str | None = None) -> str:
    """What a result is filed under: shards are told apart by their file, published sets by their name."""
    base = root.stem if name == "parquet" else name
    return base if split is None else f"{base}:{split}"
