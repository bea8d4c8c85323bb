"""How the weights move: groups of parameters, their learning rates, and the schedule."""

import math
from collections.abc import Iterator

import torch
from torch import nn

from maskloop.model import CSFPN
from maskloop.model.propagation import SGN, Fusion
from maskloop.training.config import TrainingConfig

FLOOR = 0.02
"""Where the cosine schedule ends, as a share of the peak."""


def build_optimiser(model: CSFPN, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW with a group of parameters for the encoder, one for SGN and HSGN, and one for the rest."""
    encoder = set(model.encoder.parameters())
    propagation = set(_propagation(model))
    kept: set[nn.Parameter] = set() if model.prompted is None else set(model.prompted.parameters())
    others = set(model.parameters()) - encoder - propagation - kept
    rates = [(encoder, config.encoder_rate), (propagation, config.propagation_rate), (others, 1.0)]
    groups = [
        # a set has no order, and the state of a resumed run is found by the order of the parameters
        {
            "params": [parameter for parameter in model.parameters() if parameter in members],
            "peak": config.peak_rate * rate,
        }
        for members, rate in rates
        if members
    ]
    return torch.optim.AdamW(
        groups, lr=config.peak_rate, betas=config.betas, weight_decay=config.weight_decay
    )


def set_learning_rates(optimiser: torch.optim.Optimizer, step: int, config: TrainingConfig) -> float:
    """Give every group its rate at this step; returns the rate of the parameters without a multiple."""
    now = schedule(step, config)
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * now
    return config.peak_rate * now


def schedule(step: int, config: TrainingConfig) -> float:
    """The learning rate at a step, counted from 0, as a share of its peak."""
    warm = min(1.0, (step + 1) / max(1, config.warmup))
    if config.schedule == "steps":
        return warm * 0.1 ** sum(step >= milestone for milestone in config.milestones)
    return warm * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / config.steps))))


def _propagation(model: CSFPN) -> Iterator[nn.Parameter]:
    for module in model.modules():
        if isinstance(module, SGN | Fusion):
            for name, parameter in module.named_parameters():
                if not name.endswith("gamma"):
                    yield parameter
