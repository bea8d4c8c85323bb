"""Weights that others published, read into our encoders; nothing is ever unpickled freely."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from maskloop.errors import CheckpointError

CONTAINERS = ("state_dict", "model")
"""Keys under which training scripts keep the weights beside other things."""
IMAGE_ENCODER = "image_encoder."
"""Prefix in files that hold a promptable model around the encoder (SAM and its kin)."""


@dataclass(frozen=True)
class Published:
    """The published weights that fit an encoder.

    Attributes:
        name: of the network, as its authors write it.
        file: which file is wanted, and where it is published.
        unused: how the names begin of tensors that we have no use for: classifier, mask decoder.
        renamed: how names begin in the file, and in ours; the first that fits counts. Without any, an encoder
            is looked for in the file.
    """

    name: str
    file: str
    unused: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()


def load_published(encoder: nn.Module, published: Published, file: Path) -> None:
    """Load a published file into an encoder that uses the published names.

    Every tensor must fit, and none may be left over beside `published.unused`; the counters of batch norms,
    which older files lack and nothing reads, are the exception.

    Args:
        encoder: is filled in place.
        published: what the file should hold.
        file: `.safetensors`, or what `torch.save` wrote: a state dict, or a dict with one in it.

    Raises:
        CheckpointError: the file is missing or damaged, or its names or shapes are not those of the encoder.
    """
    weights = _our_names(_read(file, published), published.renamed)
    own = encoder.state_dict()
    wrong = [name for name, value in own.items() if not _fits(name, value, weights)]
    extra = [name for name in weights if name not in own and not _is_unused(name, published)]
    if wrong or extra:
        raise CheckpointError(
            f"{file} does not hold {published.name}: {len(wrong)} of {len(own)} tensors are missing or of "
            f"another shape, {len(extra)} are unknown, first {(wrong + extra)[0]!r}; use {published.file}"
        )
    encoder.load_state_dict({name: weights.get(name, value) for name, value in own.items()})


def _read(file: Path, published: Published) -> dict[str, Tensor]:
    if not file.is_file():
        raise CheckpointError(f"{file} is missing; give {published.file}")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{file} cannot be read ({reason}); use {published.file}") from error
    return _unwrap(content)


def _unwrap(content: Any) -> dict[str, Tensor]:
    """The state dict in what a file holds; empty where there is none."""
    while isinstance(content, Mapping):
        inner = [content[key] for key in CONTAINERS if isinstance(content.get(key), Mapping)]
        if not inner:
            return {name: value for name, value in content.items() if isinstance(value, Tensor)}
        content = inner[0]
    return {}


def _our_names(weights: dict[str, Tensor], renamed: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    """Names as ours are: those of a bare encoder go without what a wrapper or a model put before them."""
    weights = {name.removeprefix("module."): value for name, value in weights.items()}
    if renamed:
        return {_renamed(name, renamed): value for name, value in weights.items()}
    inner = {name: value for name, value in weights.items() if name.startswith(IMAGE_ENCODER)}
    return {name.removeprefix(IMAGE_ENCODER): value for name, value in (inner or weights).items()}


def _renamed(name: str, renamed: tuple[tuple[str, str], ...]) -> str:
    for theirs, ours in renamed:
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def _fits(name: str, value: Tensor, weights: Mapping[str, Tensor]) -> bool:
    if name not in weights:
        return name.endswith("num_batches_tracked")
    return weights[name].shape == value.shape


def _is_unused(name: str, published: Published) -> bool:
    return name.startswith(published.unused) or name.endswith("num_batches_tracked")
