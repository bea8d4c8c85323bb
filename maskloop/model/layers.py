"""Layers that several parts of the network are made of."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def resize(features: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Bilinear resize with pixel centres at half coordinates, as crops and clicks are mapped."""
    return F.interpolate(features, size=size, mode="bilinear", align_corners=False)


class Conv2d(nn.Conv2d):
    """Convolution that learns as fast in bfloat16 as it can on a processor.

    There the gradient of depthwise weights takes three times as long in bfloat16 as in float32, and was half
    of the time of a training step.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.groups > 1 and x.is_cpu and x.dtype == torch.bfloat16 and torch.is_grad_enabled():
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float()).to(x.dtype)
        return super().forward(x)


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
