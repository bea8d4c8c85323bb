"""CSFPN: a click-to-mask network whose clicks are nodes of a sparse graph (arXiv 2203.05145).

    image -> stem + embedding of (previous mask, click disks) -> encoder -> decoder -> SGN -> HSGN -> logit

Every part can be switched, so that each row of the paper's ablation is one configuration:

    row            sgn    hires
    BS             False  none        the network of RITM
    BS+SGN         True   none
    +Fuse          True   fuse
    +Fuse+SGN      True   fuse_sgn
    +HSGN          True   hsgn        CSFPN

The cascade (a second pass on the zoomed region) is the predictor's business.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn

from maskloop.clicks import disk_maps, drop_outside
from maskloop.errors import CheckpointError
from maskloop.model.decoders import build_decoder
from maskloop.model.encoders import ENCODERS, build_encoder
from maskloop.model.heads import HEADS, DeepAuxiliary
from maskloop.model.layers import resize
from maskloop.model.prompted import PromptedViT
from maskloop.model.propagation import HSGN, SGN, Fusion, FusionSGN

MASK_THRESHOLD = 0.49
"""Probability above which a pixel belongs to the mask, in training and in use (RITM)."""
HIRES = ("none", "fuse", "fuse_sgn", "hsgn")
FUSIONS = ("early", "late")
CASCADES = ("none", "shared", "finetuned", "prompted")


@dataclass(frozen=True)
class ModelConfig:
    """What the network is made of; saved beside its weights."""

    encoder: str = "efficientnet_lite0"
    channels: int | None = None
    """Channels of the semantic map at stride 4; None: as the encoder's decoder is published."""
    fusion: Literal["early", "late"] = "early"
    """Where the previous mask and the disks of the clicks come in: `early`, before the encoder (RITM and the
    paper). `late`, after it, at stride 2: encoder and decoder see the image alone, so that one run of them
    would do for all clicks on a view; nothing keeps those maps. Measured in docs/training.md."""
    sgn: bool = True
    """Propagate clicks on the semantic map."""
    hires: Literal["none", "fuse", "fuse_sgn", "hsgn"] = "hsgn"
    """What happens at stride 2: nothing, the stem is fused in, and clicks are propagated there too."""
    hires_channels: int | None = 32
    """Channels of the map at stride 2 (bottleneck form); None: those of the semantic map, as in the paper."""
    heads: int = 3
    """Heads of SGN."""
    sign_embedding: bool = True
    """Tell positive from negative nodes in SGN and HSGN; the paper's nodes carry no sign."""
    dense_projection: bool = False
    """Project keys and values of whole maps, as the official code does: same masks, more work."""
    head: Literal["separable", "deeplab", "ocr"] = "separable"
    cascade: Literal["none", "shared", "finetuned", "prompted"] = "shared"
    """Second pass on the zoomed region: none, with the same weights, or with weights of its own. `prompted`:
    with this network, after a `PromptedViT` looked at the whole image."""
    long_side: int = 256
    """Longer side in pixels of what the predictor shows it; belongs to the size it was trained at."""
    overview_side: int = 768
    """Longer side in pixels of the whole image as a `PromptedViT` sees it."""

    def __post_init__(self) -> None:
        _check_choice("encoder", self.encoder, sorted(ENCODERS))
        _check_choice("fusion", self.fusion, FUSIONS)
        _check_choice("hires", self.hires, HIRES)
        _check_choice("head", self.head, sorted(HEADS))
        _check_choice("cascade", self.cascade, CASCADES)
        if self.fusion == "late" and self.hires == "none":
            raise CheckpointError("with late fusion and hires none no part sees the previous mask; set hires")
        if self.dense_projection and self.sign_embedding:
            raise CheckpointError("dense_projection is for nodes without sign; set sign_embedding to false")

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


def _check_choice(field: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise CheckpointError(f"unknown {field} {value!r}; known are {', '.join(known)}")


class Logits(NamedTuple):  # torch.export knows tuples
    """Mask logits (B, 1, H, W), and those of the auxiliary head before SGN, for training."""

    mask: Tensor
    auxiliary: Tensor


class CSFPN(nn.Module):
    """The network: image, previous mask and clicks to mask logits."""

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ModelConfig()
        self.encoder = build_encoder(config.encoder)
        self.click_embedding = ClickEmbedding(self.encoder.stem_channels)
        self.decoder = build_decoder(self.encoder, config.channels)
        channels = self.decoder.out_channels
        self.auxiliary = DeepAuxiliary(channels) if config.head == "ocr" else nn.Conv2d(channels, 1, 1)
        self.sgn = _sgn(config, channels)
        self.hires = _hires(config, channels, self.encoder.stem_channels)
        width = channels if self.hires is None else config.hires_channels or channels
        self.head = HEADS[config.head](width)
        # looks at whole images once, whatever is clicked; no part of `forward`, and kept as it is in training
        self.prompted = PromptedViT().requires_grad_(False) if config.cascade == "prompted" else None

    def train(self, mode: bool = True) -> Self:
        """As of any module; the prompted network stays in evaluation mode."""
        super().train(mode)
        if self.prompted is not None:
            self.prompted.eval()
        return self

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
        stem = self.encoder.stem(image)
        prompted = stem + self.click_embedding(prompt)
        features = self.decoder(self.encoder(prompted if self.config.fusion == "early" else stem))
        auxiliary = self.auxiliary(features)
        if self.sgn is not None:
            features = self.sgn(features, clicks, stride=4)
        if self.hires is not None:
            features = self.hires(features, prompted, clicks, stride=2)
        mask = self.head(features, auxiliary)
        return Logits(resize(mask, (height, width)), resize(auxiliary, (height, width)))


def _sgn(config: ModelConfig, channels: int) -> SGN | None:
    if not config.sgn:
        return None
    return SGN(channels, config.heads, config.sign_embedding, config.dense_projection)


def _hires(config: ModelConfig, channels: int, stem_channels: int) -> Fusion | None:
    if config.hires == "none":
        return None
    width = config.hires_channels or channels
    if config.hires == "fuse":
        return Fusion(channels, stem_channels, width)
    kind = FusionSGN if config.hires == "fuse_sgn" else HSGN
    return kind(channels, stem_channels, width, config.sign_embedding, config.dense_projection)


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
