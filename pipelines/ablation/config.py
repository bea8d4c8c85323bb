"""What an ablation is made of: its rows, what they start from, and their common settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from maskloop.checkpoint import load_checkpoint
from maskloop.errors import TrainingError
from maskloop.evaluation import MAX_CLICKS
from maskloop.model import ModelConfig
from maskloop.training import TrainingConfig

ROWS: Mapping[str, Mapping[str, Any]] = {
    "BS": {"sgn": False, "hires": "none"},
    "BS+SGN": {"sgn": True, "hires": "none"},
    "BS+SGN+Fuse": {"sgn": True, "hires": "fuse"},
    "BS+SGN+Fuse+SGN": {"sgn": True, "hires": "fuse_sgn"},
    "BS+SGN+HSGN": {"sgn": True, "hires": "hsgn"},
}
BASE = "BS"


@dataclass(frozen=True)
class Start:
    """What the rows start from; without anything, from random values."""

    imagenet: Path | None = None
    """Weights of the encoder."""
    checkpoint: Path | None = None
    """Folder of a checkpoint whose parameters a row takes wherever it has them: what is left to be learnt is
    the rows' own parts, so a small budget tells more about them."""

    @property
    def name(self) -> str:
        """Short, and other for other weights."""
        if self.checkpoint is not None:
            found = load_checkpoint(self.checkpoint)
            return f"{found.name}-{found.sha256[:8]}"
        return "ImageNet" if self.imagenet else "random values"


@dataclass(frozen=True)
class AblationConfig:
    """What all rows have in common; the sections of a recipe."""

    training: TrainingConfig
    model: ModelConfig
    """Its `sgn` and `hires` are set by the rows."""
    seeds: tuple[int, ...] = (0,)
    objects: int | None = None
    """Objects measured on, spread evenly over the dataset; None: all."""
    max_clicks: int = MAX_CLICKS

    def __post_init__(self) -> None:
        if not self.seeds:
            raise TrainingError("seeds is empty; an ablation needs at least one")


def read_ablation(recipe: Path) -> AblationConfig:
    """Read a recipe: sections `training`, `model`, `evaluation`, and a list of `seeds`.

    Raises:
        TrainingError: the file cannot be read, or a field is unknown or out of its range.
    """
    try:
        content = yaml.safe_load(recipe.read_text(encoding="utf-8"))
        # YAML has lists where the configuration has tuples
        training: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in content["training"].items()
        }
        return AblationConfig(
            training=TrainingConfig(**training),
            model=ModelConfig(**content.get("model", {})),
            seeds=tuple(int(seed) for seed in content["seeds"]),
            **content.get("evaluation", {}),
        )
    except OSError as error:
        raise TrainingError(f"cannot read the recipe {recipe}: {error.strerror}") from error
    except KeyError as error:
        raise TrainingError(f"the recipe {recipe} lacks the section {error}") from error
    except (TypeError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise TrainingError(f"the recipe {recipe} does not describe an ablation: {error}") from error
