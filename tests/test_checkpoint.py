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


def test_round_trip__eight_bits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = CSFPN(ModelConfig(channels=12, hires_channels=8)).eval()
    save_checkpoint(model, tmp_path / "half", "tiny", {})
    save_checkpoint(model, tmp_path / "eight", "tiny", {}, eight_bits=True)
    half, eight = (tmp_path / name / "model.safetensors" for name in ("half", "eight"))
    assert eight.stat().st_size < 0.6 * half.stat().st_size
    loaded = load_checkpoint(tmp_path / "eight").model.state_dict()
    for name, value in model.state_dict().items():
        step = 1e-3 * value.abs().max() if value.dim() < 2 else value.flatten(1).abs().amax(dim=1).max() / 127
        assert (loaded[name] - value).abs().max() <= 0.51 * step + 1e-6, name


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


@pytest.fixture
def cascade(tmp_path: Path) -> Path:
    """A checkpoint of two networks, the second of which differs in one bias."""
    torch.manual_seed(0)
    coarse, fine = (CSFPN(ModelConfig(channels=12, hires_channels=8)) for _ in range(2))
    fine.load_state_dict(coarse.state_dict())
    torch.nn.init.constant_(fine.auxiliary.bias, 0.5)
    save_checkpoint(coarse, tmp_path, "two", {}, fine)
    return tmp_path


def test_round_trip__fine_network(cascade: Path) -> None:
    checkpoint = load_checkpoint(cascade)
    assert checkpoint.model.config.cascade == checkpoint.fine.config.cascade == "finetuned"
    assert not checkpoint.fine.training
    coarse, fine = checkpoint.model.state_dict(), checkpoint.fine.state_dict()
    assert [name for name in coarse if not torch.equal(coarse[name], fine[name])] == ["auxiliary.bias"]
    assert checkpoint.fine.auxiliary.bias.item() == 0.5


def test_round_trip__one_network_has_no_fine_one(folder: Path) -> None:
    assert load_checkpoint(folder).fine is None


@pytest.mark.parametrize(
    "saved, said, message",
    [("cascade", "shared", "'fine.auxiliary.bias' is missing, extra"), ("folder", "finetuned", "'fine.aux")],
)
def test_load__fine_network_and_description_disagree(
    request: pytest.FixtureRequest, saved: str, said: str, message: str
) -> None:
    folder: Path = request.getfixturevalue(saved)
    config = json.loads((folder / "config.json").read_text())
    config["model"]["cascade"] = said
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_save__finetuned_without_fine_network(tmp_path: Path) -> None:
    model = CSFPN(ModelConfig(channels=12, hires_channels=8, cascade="finetuned"))
    with pytest.raises(CheckpointError, match="no fine network is given; give it, or say 'shared'"):
        save_checkpoint(model, tmp_path, "half", {})
    assert not (tmp_path / "model.safetensors").exists()
