"""What rivals take from other packages: single modules, and weights that are read without unpickling.

These packages import torchvision and timm in their `__init__` modules, for parts that nobody here uses.
torchvision loads only beside the very build of torch that it was made for, so that a network which needs
torch alone would not load either. Hence a module is imported alone, the packages above it left empty.
"""

import importlib
import importlib.util
import pickle
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from maskloop.errors import CheckpointError


def import_alone(
    name: str, distribution: str, stand_ins: Mapping[str, Mapping[str, Any]] | None = None
) -> ModuleType:
    """Import a module without running the `__init__` of the packages above it.

    Afterwards the table of imported modules holds of this package what it held before, so whoever imports the
    package elsewhere gets it whole.

    Args:
        name: dotted name of the module.
        distribution: what pip calls the package.
        stand_ins: names to be found, while the module is imported, in modules that need not be installed.

    Raises:
        CheckpointError: the package is not installed, or does not hold this module.
    """
    temporary: dict[str, Any] = {
        module: SimpleNamespace(**names) for module, names in (stand_ins or {}).items()
    }
    root, *inner = name.split(".")[:-1]
    folder = package_folder(root, distribution)
    for depth in range(len(inner) + 1):
        package = ModuleType(".".join([root, *inner[:depth]]))
        package.__path__ = [str(folder.joinpath(*inner[:depth]))]
        temporary[package.__name__] = package
    with _modules(root, temporary):
        try:
            return importlib.import_module(name)
        except ImportError as error:
            raise CheckpointError(
                f"the installed {distribution} has no usable {name} ({error}); {_remedy(distribution)}"
            ) from error


def package_folder(root: str, distribution: str) -> Path:
    """Where an installed package lies; nothing of it is run. CheckpointError when it is not installed."""
    spec = importlib.util.find_spec(root)
    if spec is None or not spec.submodule_search_locations:
        raise CheckpointError(f"{distribution} is not installed; {_remedy(distribution)}")
    return Path(spec.submodule_search_locations[0])


def read_weights(file: Path, wanted: str) -> dict[str, Tensor]:
    """Read a state dict that torch saved, tensors only.

    Args:
        file: the weights.
        wanted: which file this is meant to be and who publishes it, for the message when it is missing.

    Raises:
        CheckpointError: no such file, a damaged one, or one that holds more than tensors.
    """
    if not file.is_file():
        raise CheckpointError(
            f"there is no file {file}; it is to be {wanted}, saved at any path you then name"
        )
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read as weights; it is to be {wanted}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{file} holds more than named tensors; it is to be {wanted}")
    return state


def fill(model: nn.Module, state: Mapping[str, Tensor], file: Path) -> None:
    """Load weights and switch to evaluation. CheckpointError when they are those of another network."""
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"{file} does not fit {type(model).__name__}: {reason}") from error
    model.eval().requires_grad_(False)


@contextmanager
def _modules(root: str, temporary: Mapping[str, Any]) -> Iterator[None]:
    """Hide what was imported of a package, show other modules for a while, and put everything back."""

    def concerned() -> list[str]:
        return [name for name in sys.modules if f"{name}.".startswith(f"{root}.") or name in temporary]

    before = {name: sys.modules.pop(name) for name in concerned()}
    sys.modules.update(temporary)
    try:
        yield
    finally:
        for name in concerned():
            del sys.modules[name]
        sys.modules.update(before)


def _remedy(distribution: str) -> str:
    return f"pip install 'maskloop[rivals]', or no more than is needed: pip install --no-deps {distribution}"
