from dataclasses import asdict

import pytest
import torch
from torch import nn

from maskloop.folding import fold
from maskloop.model import CSFPN, ModelConfig
from maskloop.model.encoders import ENCODERS

SMALL = ModelConfig(channels=12, hires_channels=8)
CONFIGS = [
    SMALL,
    *(ModelConfig(encoder=name) for name in sorted(ENCODERS) if name not in ("resnet50", "resnet101")),
    ModelConfig(channels=12, hires_channels=8, head="ocr"),
    ModelConfig(channels=12, hires_channels=8, head="deeplab", hires="fuse_sgn"),
]


def network(config: ModelConfig) -> CSFPN:
    """Random weights, and statistics that are not those of a fresh norm."""
    torch.manual_seed(0)
    model = CSFPN(config).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.7, 1.3)
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, std=0.1)
    return model


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.encoder}-{config.head}")
def test_fold__same_logits(config: ModelConfig) -> None:
    model = network(config)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded = fold(model)
    image, previous = torch.rand(2, 3, 64, 96), torch.rand(2, 1, 64, 96)
    clicks = torch.tensor([[[20.0, 30.0, 1.0], [40.0, 60.0, -1.0]]]).expand(2, -1, -1)
    with torch.inference_mode():
        expected, found = model(image, previous, clicks), folded(image, previous, clicks)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    # what was given is as it was, and can still be trained and saved
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert asdict(folded.config) == asdict(config)


def test_fold__no_norm_is_left_in_the_default() -> None:
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fold(network(SMALL)).modules())


def test_fold__convolutions_have_no_hooks_left() -> None:
    folded = fold(network(SMALL))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in folded.modules())
