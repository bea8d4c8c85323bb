"""Our network with MobileSAM's weights against MobileSAM's own code, and the checkpoint made of both."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from maskloop.checkpoint import load_checkpoint
from maskloop.clicks import Click, stack_clicks
from maskloop.look import stack_prompts
from maskloop.metrics import intersection_over_union
from maskloop.model.prompted import PromptedViT
from maskloop.predictor import Predictor
from maskloop.prompting import main
from maskloop.rivals.packages import package_folder
from maskloop.rivals.sam import DISTRIBUTION, PACKAGE, SIDE, prompt
from tests.rivals.test_sam import COIN_MASKS, COINS

WEIGHTS = package_folder(PACKAGE, DISTRIBUTION) / "checkpoints" / "mobile_sam.pt"
SMALL = Path(__file__).parents[2] / "checkpoints" / "small"


@pytest.fixture(scope="module")
def network() -> PromptedViT:
    model = PromptedViT().eval().requires_grad_(False)
    model.load_published(WEIGHTS)
    return model


def test_answers_are_those_of_mobile_sam(network, mobile_sam):
    # a square of the side that it asks for: nothing is resized or padded
    image = cv2.resize(COINS, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    clicks = [Click(151.0, 170.0), Click(300.0, 500.0, positive=False), Click(170.0, 160.0)]
    features = network.encode(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
    previous = None
    for count in range(1, 4):
        theirs = mobile_sam.predict(image, clicks[:count], previous).probability
        shown = torch.zeros(1, 1, SIDE, SIDE)
        if previous is not None:
            shown = torch.from_numpy(previous)[None, None]
        logits = network.decode(features, shown, stack_clicks([clicks[:count]]))
        ours = F.interpolate(logits, (SIDE, SIDE), mode="bilinear").sigmoid()[0, 0]
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-4)
        assert 0.001 < (theirs > 0.5).mean() < 0.5
        previous = np.array(theirs)


@pytest.mark.parametrize("clicks", [[], [Click(150.0, 160.0)]], ids=["box alone", "box and click"])
def test_box_is_answered_as_by_mobile_sam(network, mobile_sam, clicks):
    image = cv2.resize(COINS, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    features = network.encode(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
    corners = [Click(100.0, 110.0), Click(220.0, 205.0)]
    prompts = stack_prompts([clicks], [corners])
    ours = network.decode(features, torch.zeros(1, 1, SIDE, SIDE), prompts)
    with torch.inference_mode():
        sparse, dense = mobile_sam._model.prompt_encoder(
            points=prompt(clicks, SIDE, SIDE) if clicks else None,
            boxes=torch.tensor([[110.0, 100.0, 205.0, 220.0]]),
            masks=None,
        )
        theirs, _ = mobile_sam._model.mask_decoder(
            image_embeddings=features,
            image_pe=mobile_sam._model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
    assert 0.001 < (theirs > 0).float().mean() < 0.5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("prompted") / "mine"
    assert main([str(SMALL), str(WEIGHTS), str(out), "--name", "mine", "--side", "512"]) == 0
    return out


def test_prompting__eight_bits_are_enough(folder, network):
    checkpoint = load_checkpoint(folder)
    assert (folder / "model.safetensors").stat().st_size < 20e6
    config = checkpoint.model.config
    assert (config.cascade, config.overview_side) == ("prompted", 512)
    for name, value in network.state_dict().items():
        stored = checkpoint.model.prompted.state_dict()[name]
        if value.is_floating_point() and value.dim() > 1:
            step = value.flatten(1).abs().amax(dim=1) / 127
            assert ((stored - value).abs().flatten(1).amax(dim=1) <= 0.51 * step + 1e-6).all(), name


def test_prompting__network_that_zooms_in_is_the_checkpoints(folder):
    kept, start = load_checkpoint(folder), load_checkpoint(SMALL)
    for name, value in start.model.state_dict().items():
        assert torch.equal(kept.model.state_dict()[name], value)
    assert kept.metadata["zooms"] == start.sha256
    assert kept.samples == start.samples


def test_prompting__finds_coins_that_are_clicked_once(folder):
    predictor = Predictor.load(folder)
    image = predictor.prepare(COINS)
    for mask in COIN_MASKS[:4]:
        rows, cols = np.nonzero(mask)
        answer = predictor.predict(image, [Click(float(rows.mean()), float(cols.mean()))])
        assert intersection_over_union(answer.mask, mask) > 0.9


def test_prompting__finds_coins_in_boxes(folder):
    predictor = Predictor.load(folder)
    image = predictor.prepare(COINS)
    for mask in COIN_MASKS[:4]:
        rows, cols = np.nonzero(mask)
        box = (rows.min(), cols.min(), rows.max() + 1, cols.max() + 1)
        assert intersection_over_union(predictor.predict(image, [], box=box).mask, mask) > 0.9


def test_prompting__once_more_with_another_look(folder, tmp_path):
    assert main([str(folder), str(WEIGHTS), str(tmp_path / "again"), "--side", "768"]) == 0
    assert load_checkpoint(tmp_path / "again").model.config.overview_side == 768


def test_prompting__weights_of_another_network(tmp_path):
    torch.save({"layer": torch.zeros(1)}, tmp_path / "other.pt")
    command = [sys.executable, "-m", "maskloop.prompting", str(SMALL), str(tmp_path / "other.pt")]
    done = subprocess.run([*command, str(tmp_path / "out")], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "does not hold MobileSAM" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["default", "strong"])
def test_shipped_checkpoint__made_by_the_command_of_its_card(tmp_path, name):
    folder = SMALL.parent / name
    (line,) = re.findall(r"^python -m maskloop\.prompting (.*)$", (folder / "README.md").read_text(), re.M)
    start, published, out, *options = line.split()
    assert (start, published, out) == ("checkpoints/small", "mobile_sam.pt", f"checkpoints/{name}")
    assert main([str(SMALL), str(WEIGHTS), str(tmp_path), *options]) == 0
    assert load_checkpoint(tmp_path).sha256 == load_checkpoint(folder).sha256
