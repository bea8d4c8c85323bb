"""Recipes: YAML files that describe a network and how it is trained."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from maskloop.errors import TrainingError
from maskloop.model import ModelConfig
from maskloop.training import TrainingConfig

NUMBERS = (bool, int, float, float | None)
"""Types of fields that no text fits."""

Config = TypeVar("Config", ModelConfig, TrainingConfig)


@dataclass(frozen=True)
class Recipe:
    """A network and its training."""

    model: ModelConfig
    training: TrainingConfig


def read_recipe(path: Path) -> Recipe:
    """Read a recipe: fields of TrainingConfig, and those of ModelConfig in the section `model`.

    Raises:
        TrainingError: the file cannot be read, or holds a field or value that there is not.
        CheckpointError: a value of the section `model` is not possible.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"cannot read the recipe {path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise TrainingError(f"the recipe {path} is not YAML: {error}") from error
    training = dict(_section(path, "recipe", content))
    model = _section(path, "section 'model'", training.pop("model", None))
    return Recipe(_build(path, ModelConfig, model), _build(path, TrainingConfig, training))


def _section(path: Path, name: str, content: object) -> Mapping[str, Any]:
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise TrainingError(f"the {name} of {path} is {content!r}; write one `field: value` a line")
    return content


def _build(path: Path, config: type[Config], values: Mapping[str, Any]) -> Config:
    known = {field.name: field.type for field in fields(config)}
    for name, value in values.items():
        if name not in known:
            raise TrainingError(
                f"{path} has the unknown field {name!r}; {config.__name__} has {', '.join(known)}"
            )
        if isinstance(value, str) and known[name] in NUMBERS:
            raise TrainingError(
                f"{name} in {path} is the text {value!r}; write a number, such as 0.1 or 5.0e-4"
            )
    # YAML has lists where the configurations have tuples, which nobody can change afterwards
    arguments: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    try:
        return config(**arguments)
    except TypeError as error:
        raise TrainingError(f"a value in {path} is of the wrong kind: {error}") from error
