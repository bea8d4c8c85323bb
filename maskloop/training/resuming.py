"""The file that a run goes on from."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from maskloop.errors import TrainingError

STATE = "resume.safetensors"
IDENTITY = "identity"


def write_state(out: Path, state: Mapping[str, Tensor], identity: Mapping[str, object]) -> None:
    """Write the state of a run into its folder; the file appears whole or not at all."""
    fresh = (out / STATE).with_suffix(".part")
    # a clone each: tensors that share memory are refused
    tensors = {key: value.detach().clone().contiguous() for key, value in state.items()}
    save_file(tensors, fresh, {IDENTITY: json.dumps(identity)})
    fresh.replace(out / STATE)


def read_state(out: Path, identity: Mapping[str, object]) -> dict[str, Tensor] | None:
    """Read the state of the run in a folder; None when there is none.

    Args:
        out: the folder.
        identity: what the run must have been written with.

    Raises:
        TrainingError: the file is damaged, or the run is another one.
    """
    file = out / STATE
    if not file.is_file():
        return None
    try:
        with safe_open(file, "pt") as opened:
            found = json.loads((opened.metadata() or {}).get(IDENTITY, "{}"))
            _compare(file, found, identity)
            return {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise TrainingError(f"{file} is damaged ({error}); remove it to start anew") from error


def _compare(file: Path, found: Mapping[str, object], wanted: Mapping[str, object]) -> None:
    for name, value in wanted.items():
        if found.get(name) != value:
            raise TrainingError(
                f"{file} was written with {name} {found.get(name)}, this run has {value}; "
                "go on as it was started, or give an empty folder"
            )
