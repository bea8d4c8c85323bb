import json
from pathlib import Path

import pytest
import torch

from maskloop.checkpoint import load_checkpoint, save_checkpoint
from maskloop.errors import CheckpointError
from maskloop.model import CSFPN, ModelConfig


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_checkpoint(CSFPN(ModelConfig(channels=12, hires_channels=8)), tmp_path, "tiny", {"steps": 3})
    return tmp_path


def test_round_trip(folder: Path) -> None:
    checkpoint = load_checkpoint(folder)
    torch.manual_seed(0)
    original = CSFPN(ModelConfig(channels=12, hires_channels=8)).state_dict()
    loaded = checkpoint.model.state_dict()
    assert all(torch.allclose(original[name], loaded[name], atol=1e-3) for name in original)
    assert (checkpoint.name, checkpoint.metadata) == ("tiny", {"steps": 3})
    assert checkpoint.sha256 == json.loads((folder / "config.json").read_text())["sha256"]
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_load__another_digest(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="expected 00; copy the checkpoint again"):
        load_checkpoint(folder, sha256="00")


def test_load__damaged_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="copy the checkpoint again"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    "text, message",
    [("{", "is not JSON"), ('{"name": "x", "sha256": ""}', "lacks 'model'")],
)
def test_load__damaged_description(folder: Path, text: str, message: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_load__weights_of_another_network(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["model"]["channels"] = 24
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="does not fit"):
        load_checkpoint(folder)


def test_load__not_finite(tmp_path: Path) -> None:
    model = CSFPN(ModelConfig(channels=12, hires_channels=8))
    torch.nn.init.constant_(model.auxiliary.bias, float("nan"))
    save_checkpoint(model, tmp_path, "broken", {})
    with pytest.raises(CheckpointError, match="not finite"):
        load_checkpoint(tmp_path)


def test_load__no_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="give the folder of a checkpoint"):
        load_checkpoint(tmp_path / "nowhere")
