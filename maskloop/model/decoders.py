"""Decoders: the maps of an encoder to one semantic map at stride 4."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from maskloop.errors import CheckpointError
from maskloop.model.encoders.base import Encoder
from maskloop.model.layers import SeparableBlock, conv_bn_relu, resize

ATROUS_RATES = (12, 24, 36)
"""Dilations of the spatial pyramid at stride 8."""
SKIP_CHANNELS = 32


class Decoder(nn.Module, ABC):
    """What the network asks of a decoder: made from the channels of the maps and the width wanted.

    Attributes:
        out_channels: channels of the semantic map.
    """

    out_channels: int

    def __init__(self, inputs: tuple[int, ...], channels: int) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps from fine to coarse; returns (B, out_channels, h, w) of the finest."""


class Pyramid(Decoder):
    """Feature pyramid: maps at strides 4 to 32 to one at stride 4, with an image-wide context at the top."""

    def __init__(self, inputs: tuple[int, ...], channels: int) -> None:
        super().__init__(inputs, channels)
        self.out_channels = channels
        self.laterals = nn.ModuleList(nn.Conv2d(count, channels, 1) for count in inputs)
        self.context = nn.Linear(inputs[-1], channels)
        self.blocks = nn.ModuleList(SeparableBlock(channels, channels) for _ in inputs)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps from fine to coarse; returns (B, channels, h, w) of the finest."""
        context = self.context(maps[-1].mean(dim=(2, 3)))[..., None, None]
        x = self.blocks[-1](self.laterals[-1](maps[-1]) + context)
        for level in reversed(range(len(maps) - 1)):
            lateral = self.laterals[level](maps[level])
            x = self.blocks[level](lateral + resize(x, lateral.shape[-2:]))
        return x


class Concat(Decoder):
    """All maps brought to the finest and stacked, as HRNetV2 does; as wide as they are together."""

    def __init__(self, inputs: tuple[int, ...], channels: int) -> None:
        super().__init__(inputs, channels)
        self.out_channels = sum(inputs)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps from fine to coarse; returns (B, out_channels, h, w) of the finest."""
        size = maps[0].shape[-2:]
        return torch.cat([maps[0], *(resize(x, size) for x in maps[1:])], dim=1)


class SpatialPyramid(nn.Module):
    """Atrous spatial pyramid pooling (Chen et al. 2018): one map at several dilations, and as a whole."""

    def __init__(self, inputs: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [
                conv_bn_relu(inputs, channels, kernel=1),
                *(conv_bn_relu(inputs, channels, dilation=rate) for rate in ATROUS_RATES),
            ]
        )
        self.pooled = nn.Conv2d(inputs, channels, 1, bias=False)
        self.pooled_norm = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        total = channels * (len(ATROUS_RATES) + 2)
        self.project = nn.Sequential(conv_bn_relu(total, channels, kernel=1), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, channels, h, w)."""
        pooled = self.pooled(x.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *x.shape[-2:])
        # normed after it is spread, because the norm cannot be trained on one image of one cell
        views = [branch(x) for branch in self.branches] + [self.pooled_norm(pooled)]
        return self.project(torch.cat(views, dim=1))


class DeepLab(Decoder):
    """Decoder of DeepLabV3+ as in RITM: the coarse map's pyramid, joined by a thin skip."""

    def __init__(self, inputs: tuple[int, ...], channels: int) -> None:
        super().__init__(inputs, channels)
        self.out_channels = channels
        # RITM's values: 0.2 beside ResNet-34, whose decoder is half as wide, else the usual 0.5
        dropout = 0.2 if channels <= 128 else 0.5
        self.skip = conv_bn_relu(inputs[0], SKIP_CHANNELS, kernel=1)
        self.pyramid = SpatialPyramid(inputs[-1], channels, dropout)
        self.merge = nn.Sequential(
            SeparableBlock(channels + SKIP_CHANNELS, channels, kernel=3),
            SeparableBlock(channels, channels, kernel=3),
            nn.Conv2d(channels, channels, 1),
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps from fine to coarse; returns (B, channels, h, w) of the finest."""
        skip = self.skip(maps[0])
        context = resize(self.pyramid(maps[-1]), skip.shape[-2:])
        return self.merge(torch.cat([context, skip], dim=1))


DECODERS: dict[str, type[Decoder]] = {"concat": Concat, "deeplab": DeepLab, "pyramid": Pyramid}


def build_decoder(encoder: Encoder, channels: int | None = None) -> Decoder:
    """The decoder that an encoder is published with, `channels` wide or as wide as published.

    Raises:
        CheckpointError: the decoder has one width only, and another was asked for.
    """
    decoder = DECODERS[encoder.decoder](encoder.channels, channels or encoder.width)
    if channels is not None and decoder.out_channels != channels:
        raise CheckpointError(
            f"channels is {channels}, but {type(encoder).__name__} gives {decoder.out_channels};"
            " leave channels out"
        )
    return decoder
