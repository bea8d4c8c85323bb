"""Checkpoints: a folder with `model.safetensors` and `config.json`. Nothing is ever unpickled."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from maskloop.errors import CheckpointError
from maskloop.model import CSFPN, ModelConfig
from maskloop.quantising import quantised, restored

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
FINETUNED: Literal["finetuned"] = "finetuned"
FINE = "fine."
"""What the names of the fine network's weights begin with."""
PROMPTED = "prompted."
"""What the names of a `PromptedViT`'s weights begin with; they are stored in eight bits, as they are many."""


@dataclass(frozen=True)
class Checkpoint:
    """Networks in evaluation mode, float32, with what their folder says of them."""

    model: CSFPN
    fine: CSFPN | None
    """The cascade's second network, where it has weights of its own (`cascade: finetuned`)."""
    name: str
    sha256: str
    metadata: dict[str, Any]

    @property
    def samples(self) -> int | None:
        """Views that the network learnt from, earlier runs included; None if it does not tell."""
        told = self.metadata
        if not {"samples_before", "steps_done", "config"} <= told.keys():
            return None
        return int(told["samples_before"] + told["steps_done"] * told["config"]["batch"])

    def origin(self) -> dict[str, Any]:
        """What a network that is trained on from this one is told to say of it."""
        return {"start": self.sha256} | ({} if self.samples is None else {"samples_before": self.samples})


def save_checkpoint(
    model: CSFPN,
    directory: Path,
    name: str,
    metadata: Mapping[str, Any],
    fine: CSFPN | None = None,
    eight_bits: bool = False,
) -> str:
    """Write weights in half precision and their description; each file appears whole or not at all.

    Those of a `PromptedViT`, which are never trained, are written in eight bits.

    Args:
        model: the network.
        directory: is made when missing; files of an older checkpoint in it are replaced.
        name: short name shown in versions, such as `default`.
        metadata: how it was trained, plain JSON values.
        fine: the cascade's second network, of the same configuration; it makes the checkpoint `finetuned`.
        eight_bits: all weights are written so, for a checkpoint that is shipped rather than trained on.

    Returns:
        The sha256 of the weights file.

    Raises:
        CheckpointError: the configuration is `finetuned`, and there is no second network.
    """
    if fine is None and model.config.cascade == FINETUNED:
        raise CheckpointError(
            f"the network's cascade is {FINETUNED!r}, but no fine network is given; give it, or say 'shared'"
        )
    config = model.config if fine is None else replace(model.config, cascade=FINETUNED)
    directory.mkdir(parents=True, exist_ok=True)
    named = _named(model, fine)
    small = quantised({key: value for key, value in named.items() if eight_bits or key.startswith(PROMPTED)})
    weights = {key: _compact(value) for key, value in (named | small).items()}
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        fresh = Path(folder) / WEIGHTS
        save_file(weights, fresh)
        sha256 = digest(fresh)
        described = {
            "name": name,
            "sha256": sha256,
            "model": config.to_dict(),
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
    model_config = ModelConfig.from_dict(config["model"])
    model = CSFPN(model_config).eval()
    fine = CSFPN(model_config).eval() if model_config.cascade == FINETUNED else None
    weights = _read_weights(weights_file, _named(model, fine))
    model.load_state_dict({key: value for key, value in weights.items() if not key.startswith(FINE)})
    if fine is not None:
        fine.load_state_dict({key: weights[FINE + key] for key in fine.state_dict()})
    return Checkpoint(model, fine, str(config["name"]), found, dict(config.get("training", {})))


def digest(file: Path) -> str:
    """sha256 of a file, hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _named(model: CSFPN, fine: CSFPN | None) -> dict[str, Tensor]:
    """The weights of both networks by their names in the file."""
    weights: dict[str, Tensor] = dict(model.state_dict())
    if fine is not None:
        weights = weights | {FINE + key: value for key, value in fine.state_dict().items()}
    return weights


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


def _read_weights(file: Path, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read weights that must have the names and shapes of `own`."""
    try:
        weights = restored(load_file(file))
    except SafetensorError as error:
        raise CheckpointError(f"{file} is damaged ({error}); copy the checkpoint again") from error
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
