import pytest
import torch

from maskloop.model import CSFPN, ModelConfig
from maskloop.training import TrainingConfig
from maskloop.training.optimisation import build_optimiser, schedule, set_learning_rates


@pytest.fixture(scope="module")
def model() -> CSFPN:
    return CSFPN(ModelConfig(channels=12, hires_channels=8, heads=2))


def rates(model: CSFPN, **fields: float) -> dict[str, float]:
    """Learning rate of each parameter after the warm-up."""
    config = TrainingConfig(learning_rate=1.0, warmup=0, **fields)
    optimiser = build_optimiser(model, config)
    assert set_learning_rates(optimiser, 0, config) == 1.0
    found = {id(item): group["lr"] for group in optimiser.param_groups for item in group["params"]}
    return {name: found[id(parameter)] for name, parameter in model.named_parameters()}


def test_build_optimiser__rates_by_part(model: CSFPN) -> None:
    found = rates(model, encoder_rate=0.4, propagation_rate=0.1)
    assert found["encoder._conv_stem.weight"] == 0.4
    assert found["sgn.heads.1.query.weight"] == found["sgn.out.0.weight"] == 0.1
    assert found["hires.fuse.0.0.weight"] == found["hires.propagation.value.bias"] == 0.1
    assert (
        found["sgn.heads.0.gamma"]
        == found["hires.propagation.gamma"]
        == found["click_embedding.scale"]
        == 1.0
    )
    assert found["head.layers.1.weight"] == found["auxiliary.weight"] == 1.0
    assert set(rates(model, encoder_rate=1.0).values()) == {1.0}


def test_build_optimiser__settings_reach_it(model: CSFPN) -> None:
    optimiser = build_optimiser(model, TrainingConfig(betas=(0.8, 0.9), weight_decay=0.0))
    assert {(group["betas"], group["weight_decay"]) for group in optimiser.param_groups} == {
        ((0.8, 0.9), 0.0)
    }


def test_schedule__cosine() -> None:
    config = TrainingConfig(steps=100, warmup=4)
    assert schedule(0, config) == pytest.approx(0.25)
    assert schedule(50, config) == pytest.approx(0.51)
    assert schedule(100, config) == pytest.approx(0.02)


def test_schedule__steps() -> None:
    config = TrainingConfig(steps=9, warmup=2, schedule="steps", milestones=(3, 5))
    found = [schedule(step, config) for step in range(7)]
    assert found == pytest.approx([0.5, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_adamw__without_decay_is_adam() -> None:
    """Why there is no switch between the two."""
    weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    for weight, kind in zip(weights, (torch.optim.AdamW, torch.optim.Adam), strict=True):
        optimiser = kind([weight], lr=0.1, weight_decay=0.0)
        for _ in range(3):
            weight.grad = weight.detach() ** 2
            optimiser.step()
    assert torch.equal(*weights)
