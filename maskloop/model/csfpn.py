"""CSFPN: a click-to-mask network whose clicks are nodes of a sparse graph (arXiv 2203.05145).

    image -> stem + embedding of (previous mask, click disks) -> encoder -> pyramid -> SGN -> HSGN -> logit

The cascade (a second pass on the zoomed region, same weights) is the predictor's business.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskloop.clicks import disk_maps, drop_outside
from maskloop.errors import CheckpointError
from maskloop.model.encoder import EfficientNetLite0
from maskloop.model.propagation import HSGN, SGN, resize

MASK_THRESHOLD = 0.49
"""Probability above which a pixel belongs to the mask, in training and in use (RITM)."""
ENCODERS = {"efficientnet_lite0": EfficientNetLite0}


@dataclass(frozen=True)
class ModelConfig:
    """What the network is made of; saved beside its weights."""

    encoder: str = "efficientnet_lite0"
    channels: int = 96
    """Channels of the semantic map at stride 4."""
    hires_channels: int = 32
    """Channels of the map at stride 2."""
    heads: int = 3
    """Heads of SGN."""
    sign_embedding: bool = True
    """Tell positive from negative nodes in SGN and HSGN; the paper's nodes carry no sign."""
    long_side: int = 256
    """Longer side in pixels of what the predictor shows it; belongs to the size it was trained at."""
    cascade: str = "shared"
    """Second pass on the zoomed region: `none`, `shared` (same weights), `finetuned` (weights of its own)."""

    def __post_init__(self) -> None:
        if self.encoder not in ENCODERS:
            raise CheckpointError(
                f"unknown encoder {self.encoder!r}; known are {', '.join(sorted(ENCODERS))}"
            )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ModelConfig":
        """Read what `to_dict` wrote; CheckpointError on a name this version does not know."""
        try:
            return cls(**values)
        except TypeError as error:
            raise CheckpointError(f"model configuration {values!r} is of another version: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Logits:
    """Mask logits (B, 1, H, W), and those of the auxiliary head before SGN, for training."""

    mask: Tensor
    auxiliary: Tensor


class CSFPN(nn.Module):
    """The network: image, previous mask and clicks to mask logits."""

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config or ModelConfig()
        channels, width = self.config.channels, self.config.hires_channels
        self.encoder = ENCODERS[self.config.encoder]()
        self.click_embedding = ClickEmbedding(self.encoder.stem_channels)
        self.pyramid = Pyramid(self.encoder.channels, channels)
        self.auxiliary = nn.Conv2d(channels, 1, 1)
        self.sgn = SGN(channels, self.config.heads, self.config.sign_embedding)
        self.hsgn = HSGN(channels, self.encoder.stem_channels, width, self.config.sign_embedding)
        self.head = nn.Sequential(SeparableBlock(width, width), nn.Conv2d(width, 1, 1))

    def forward(self, image: Tensor, previous: Tensor, clicks: Tensor) -> Logits:
        """Predict.

        Args:
            image: (B, 3, H, W) in 0..1, H and W at least 32.
            previous: probability of the mask so far, (B, 1, H, W); zeros before the first click.
            clicks: (B, N, 3): row, column, sign (+1, -1, 0 an empty slot), any N.
        """
        height, width = image.shape[-2:]
        # after this no part of the network needs to know where the image ends
        clicks = drop_outside(clicks, height, width)
        prompt = torch.cat([previous, disk_maps(clicks, height, width).to(image.dtype)], dim=1)
        stem = self.encoder.stem(image) + self.click_embedding(prompt)
        semantic = self.pyramid(self.encoder(stem))
        auxiliary = self.auxiliary(semantic)
        propagated = self.sgn(semantic, clicks, stride=4)
        fine = self.hsgn(propagated, stem, clicks, stride=2)
        return Logits(resize(self.head(fine), (height, width)), resize(auxiliary, (height, width)))


class ClickEmbedding(nn.Module):
    """Early fusion: previous mask and disks to features that are added to the encoder's stem (RITM)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 1), nn.LeakyReLU(0.2), nn.Conv2d(16, channels, 3, stride=2, padding=1)
        )
        # starts small so that the encoder's ImageNet features are hardly disturbed
        self.scale = nn.Parameter(torch.tensor(0.05))

    def forward(self, prompt: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, channels, ceil(H/2), ceil(W/2))."""
        return self.layers(prompt) * self.scale.abs()


class Pyramid(nn.Module):
    """Feature pyramid: maps at strides 4 to 32 to one at stride 4, with an image-wide context at the top."""

    def __init__(self, inputs: tuple[int, ...], channels: int) -> None:
        super().__init__()
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


class SeparableBlock(nn.Module):
    """Depthwise 5x5, pointwise, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 5, padding=2, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.pointwise(self.depthwise(x))))
