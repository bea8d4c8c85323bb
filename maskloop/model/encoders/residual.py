"""Residual blocks that ResNet and HRNet are made of (He et al. 2016), named as in their published weights."""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F


class ResidualBlock(nn.Module):
    """What the stages ask of a block: made from its channels, stride and dilation.

    `entry` is the dilation of the convolution that carries the stride.

    Attributes:
        expansion: output channels for each channel of the block's width.
        downsample: brings the input to the output's shape where they differ.
    """

    expansion: ClassVar[int]

    def __init__(self, inputs: int, width: int, stride: int = 1, dilation: int = 1, entry: int = 1) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.downsample = projection(inputs, outputs, stride) if stride > 1 or inputs != outputs else None

    def shortcut(self, x: Tensor) -> Tensor:
        """The input, in the shape of the output."""
        return x if self.downsample is None else self.downsample(x)


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int = 1, dilation: int = 1, entry: int = 1) -> None:
        super().__init__(inputs, width, stride)
        self.conv1 = conv3x3(inputs, width, stride, entry)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width, dilation=dilation)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Bottleneck(ResidualBlock):
    """Reduce 1x1, 3x3 that carries the stride, expand 1x1."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int = 1, dilation: int = 1, entry: int = 1) -> None:
        super().__init__(inputs, width, stride)
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width, stride, entry)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.shortcut(x))


def conv3x3(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """3x3 without bias; the output has ceil(size / stride) cells."""
    return nn.Conv2d(inputs, outputs, 3, stride, padding=dilation, dilation=dilation, bias=False)


def projection(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """1x1 and batch norm."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
