"""Checkpoints: a folder with `model.safetensors` and `config.json`. Nothing is ever unpickled."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from maskloop.errors import CheckpointError
from maskloop.model import CSFPN, ModelConfig

WEIGHTS = "model.safetensors"
CONFIG = "config.json"


@dataclass(frozen=True)
class Checkpoint:
    """A network in evaluation mode, float32, with what its folder says of it."""

    model: CSFPN
    name: str
    sha256: str
    metadata: dict[str, Any]


def save_checkpoint(model: CSFPN, directory: Path, name: str, metadata: Mapping[str, Any]) -> str:
    """Write weights in half precision and their description; each file appears whole or not at all.

    Args:
        model: the network.
        directory: is made when missing; files of an older checkpoint in it are replaced.
        name: short name shown in versions, such as `default`.
        metadata: how it was trained, plain JSON values.

    Returns:
        The sha256 of the weights file.
    """
    directory.mkdir(parents=True, exist_ok=True)
    weights = {key: _compact(value) for key, value in model.state_dict().items()}
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        fresh = Path(folder) / WEIGHTS
        save_file(weights, fresh)
        sha256 = digest(fresh)
        described = {
            "name": name,
            "sha256": sha256,
            "model": model.config.to_dict(),
            "training": dict(metadata),
        }
        text = Path(folder) / CONFIG
        text.write_text(json.dumps(described, indent=2) + "\n")
        # the description goes last: a reader that meets new weights with an old description sees a wrong
        # digest, and says so
        fresh.replace(directory / WEIGHTS)
        text.replace(directory / CONFIG)
    return sha256


def load_checkpoint(directory: Path, sha256: str | None = None) -> Checkpoint:
    """Read a checkpoint strictly: digest, names, shapes and finite values are checked.

    Args:
        directory: the folder.
        sha256: digest that the weights must have, beside the one in `config.json`.

    Raises:
        CheckpointError: something is missing, damaged or of another version.
    """
    config = _read_config(directory)
    weights_file = directory / WEIGHTS
    if not weights_file.is_file():
        raise CheckpointError(f"{directory} has no {WEIGHTS}; give the folder that a training run wrote")
    found = digest(weights_file)
    for wanted in (config["sha256"], sha256):
        if wanted is not None and wanted != found:
            raise CheckpointError(
                f"{weights_file} has sha256 {found}, expected {wanted}; copy the checkpoint again"
            )
    model = CSFPN(ModelConfig.from_dict(config["model"]))
    model.load_state_dict(_read_weights(weights_file, model))
    return Checkpoint(model.eval(), str(config["name"]), found, dict(config.get("training", {})))


def digest(file: Path) -> str:
    """sha256 of a file, hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _compact(value: Tensor) -> Tensor:
    value = value.detach().cpu().contiguous()
    return value.half() if value.is_floating_point() else value


def _read_config(directory: Path) -> dict[str, Any]:
    file = directory / CONFIG
    try:
        config = json.loads(file.read_text())
    except OSError as error:
        raise CheckpointError(
            f"cannot read {file}: {error.strerror}; give the folder of a checkpoint"
        ) from error
    except ValueError as error:
        raise CheckpointError(f"{file} is not JSON ({error}); copy the checkpoint again") from error
    missing = [key for key in ("name", "sha256", "model") if key not in config]
    if missing:
        raise CheckpointError(f"{file} lacks {missing[0]!r}; it was not written by maskloop")
    return dict(config)


def _read_weights(file: Path, model: CSFPN) -> dict[str, Tensor]:
    try:
        weights = load_file(file)
    except SafetensorError as error:
        raise CheckpointError(f"{file} is damaged ({error}); copy the checkpoint again") from error
    own = model.state_dict()
    strange = sorted(set(weights) ^ set(own)) or [
        name for name in own if own[name].shape != weights[name].shape
    ]
    if strange:
        raise CheckpointError(
            f"{file} does not fit its {CONFIG}: {strange[0]!r} is missing, extra or of another shape"
        )
    if not all(torch.isfinite(value).all() for value in weights.values() if value.is_floating_point()):
        raise CheckpointError(
            f"{file} holds values that are not finite; training diverged, take an earlier checkpoint"
        )
    return weights
