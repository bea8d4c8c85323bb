"""Layers that several parts of the network are made of."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def resize(features: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Bilinear resize with pixel centres at half coordinates, as crops and clicks are mapped."""
    return F.interpolate(features, size=size, mode="bilinear", align_corners=False)


class Conv2d(nn.Conv2d):
    """Convolution that learns as fast as it can on a processor, where depthwise weights take longest.

    Their gradient takes three times as long in bfloat16 as in float32, so float32 it is; where kernels are
    large and steps are single pixels it is computed by another convolution, in half the time again.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.groups == 1 or not (x.is_cpu and self.training and torch.is_grad_enabled()):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return self._learn(x.to(self.weight.dtype)).to(x.dtype)

    def _learn(self, x: Tensor) -> Tensor:
        plain = self.groups == self.in_channels == self.out_channels and self.bias is None
        if plain and self.stride == self.dilation == (1, 1) and min(self.kernel_size) >= 5:
            return cast(Tensor, Depthwise.apply(x, self.weight, self.padding))  # type: ignore[no-untyped-call]
        return super().forward(x)


class Depthwise(torch.autograd.Function):
    """Depthwise convolution of maps (B, C, H, W) with weights (C, 1, k, k), stride 1.

    The gradient of a channel's weights is the convolution of its map with the gradient of its result: forward
    convolutions again, an item and channel each, which are faster than what libraries have for it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        return F.conv2d(x, weight, padding=padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        batch, channels = x.shape[:2]
        of_x = F.conv_transpose2d(gradient, weight, padding=ctx.padding, groups=channels)
        maps = x.reshape(1, batch * channels, *x.shape[2:])
        kernels = gradient.reshape(batch * channels, 1, *gradient.shape[2:])
        of_weight = F.conv2d(maps, kernels, padding=ctx.padding, groups=batch * channels)
        return of_x, of_weight.view(batch, *weight.shape).sum(dim=0), None


def conv_bn_relu(inputs: int, outputs: int, kernel: int = 3, dilation: int = 1) -> nn.Sequential:
    """Convolution that keeps the size, batch norm, ReLU."""
    padding = kernel // 2 * dilation
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class SeparableBlock(nn.Module):
    """Depthwise, pointwise, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 5) -> None:
        super().__init__()
        self.depthwise = Conv2d(inputs, inputs, kernel, padding=kernel // 2, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.pointwise(self.depthwise(x))))
