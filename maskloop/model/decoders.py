"""Decoders: the maps of an encoder to one semantic map at stride 4."""

import torch
from torch import Tensor, nn

from maskloop.errors import CheckpointError
from maskloop.model.encoders.base import Encoder
from maskloop.model.layers import SeparableBlock, resize


class Decoder(nn.Module):
    """What the network asks of a decoder: made from the channels of the maps and the width wanted.

    Attributes:
        out_channels: channels of the semantic map.
    """

    out_channels: int

    def __init__(self, inputs: tuple[int, ...], channels: int) -> None:
        super().__init__()

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps from fine to coarse; returns (B, out_channels, h, w) of the finest."""
        raise NotImplementedError


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
    """All maps brought to the finest and stacked, as HRNetV2 does; its width is what the maps have together."""

    def __init__(self, inputs: tuple[int, ...], channels: int) -> None:
        super().__init__(inputs, channels)
        self.out_channels = sum(inputs)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps from fine to coarse; returns (B, out_channels, h, w) of the finest."""
        size = maps[0].shape[-2:]
        return torch.cat([maps[0], *(resize(x, size) for x in maps[1:])], dim=1)


DECODERS: dict[str, type[Decoder]] = {"concat": Concat, "pyramid": Pyramid}


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
