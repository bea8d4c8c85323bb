"""Weights in eight bits: whole numbers, and a scale for each row (output channel) of a matrix or kernel.

For storage alone; the network computes with what `restored` gives. What has fewer than two dimensions stays
as it is: it is small, and every value of it counts.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

LARGEST = 127
SCALE = ".scale"
"""What is added to the name of a tensor for that of its scales, (rows,) float16."""


def quantised(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of two or more dimensions as int8 with their scales beside them; all others unchanged."""
    stored: dict[str, Tensor] = {}
    for name, value in weights.items():
        if value.dim() < 2 or not value.is_floating_point():
            stored[name] = value
            continue
        rows = value.detach().float().flatten(1)
        scale = (rows.abs().amax(dim=1) / LARGEST).half()
        # a row so small that its scale is zero in half precision is zeros
        steps = torch.where(scale[:, None] > 0, rows / scale[:, None].float(), 0).round()
        stored[name] = steps.clamp(-LARGEST, LARGEST).to(torch.int8).view(value.shape)
        stored[name + SCALE] = scale
    return stored


def restored(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `quantised` was given, to the nearest step of each row; float32 where it was quantised.

    A tensor whose scales are not those of its rows comes back empty, for whoever checks names and shapes.
    """
    weights: dict[str, Tensor] = {}
    for name, value in stored.items():
        if name.endswith(SCALE) and name.removesuffix(SCALE) in stored:
            continue
        scale = stored.get(name + SCALE)
        if scale is None:
            weights[name] = value
        elif value.dim() < 2 or scale.shape != value.shape[:1]:
            weights[name] = value.new_empty(0)
        else:
            rows = value.float().flatten(1) * scale.float()[:, None]
            weights[name] = rows.view(value.shape)
    return weights
