"""Folding: a network for inference, with each batch norm merged into the convolution before it."""

from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from maskloop.model import CSFPN

Network = TypeVar("Network", bound=CSFPN)
SIDE = 64
"""Of the image that is shown to the network to see which layer feeds which."""


def fold(model: Network) -> Network:
    """A copy that gives the same logits, to rounding, in less time; it cannot be trained.

    In evaluation mode a batch norm is a scale and a shift of each channel, which a convolution can do itself.
    The weights lie in memory as convolutions on a CPU like them best (`channels_last`).
    """
    folded = deepcopy(model).eval().requires_grad_(False)
    names = {module: name for name, module in folded.named_modules()}
    for convolution, norm in _pairs(folded):
        _replace(folded, names[convolution], fuse_conv_bn_eval(convolution, norm))
        _replace(folded, names[norm], nn.Identity())
    for parameter in folded.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return folded


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def _pairs(model: CSFPN) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions and the norms that take their outputs, as seen in one run: names and order may deceive."""
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    given: dict[nn.Module, Tensor] = {}
    taken: dict[nn.Module, Tensor] = {}
    handles = [
        *(one.register_forward_hook(lambda one, _, out: given.update({one: out})) for one in convolutions),
        *(one.register_forward_pre_hook(lambda one, args: taken.update({one: args[0]})) for one in norms),
    ]
    shown = (torch.zeros(1, 3, SIDE, SIDE), torch.zeros(1, 1, SIDE, SIDE), torch.zeros(1, 1, 3))
    with torch.no_grad():
        model(*shown)
        if model.prompted is not None:
            model.prompted(*shown)
    for handle in handles:
        handle.remove()
    return [(one, norm) for norm in norms for one in convolutions if given[one] is taken[norm]]
