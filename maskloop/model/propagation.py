"""Sparse feature propagation: every pixel attends to the clicked pixels only.

Source: CSFPN, arXiv 2203.05145. SGN propagates on the semantic map, HSGN on a map of higher resolution whose
affinity still comes from the semantic features. Letters: B batch, N clicks, C channels, D key channels, h x w
a feature map at stride r.
"""

from functools import reduce

import torch
from torch import Tensor, nn

from maskloop.clicks import inside
from maskloop.model.layers import conv_bn_relu, resize


def sparse_propagate(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    clicks: Tensor,
    stride: int,
    project_key: nn.Module | None = None,
    project_value: nn.Module | None = None,
    sign_embedding: nn.Embedding | None = None,
) -> Tensor:
    """Carry the features of the clicked cells to every pixel: softmax over the clicks, per pixel.

    The cell of a click is its pixel divided by the stride. Empty slots and clicks outside the image are no
    nodes; two clicks in one cell count twice; with no node the message is zero.

    Args:
        queries: (B, D, h, w).
        keys: map that the nodes' keys are read from, (B, D or C, h, w).
        values: map that the nodes' values are read from, (B, C, h, w).
        clicks: (B, N, 3): row and column in input pixels, sign.
        stride: input pixels a cell.
        project_key: applied to the key nodes (B, N, .); the same as projecting the whole map, at N cells
            instead of h*w.
        project_value: applied to the value nodes.
        sign_embedding: two rows added to the key nodes, for positive and negative clicks.

    Returns:
        Message (B, C', h, w), C' being the channels of the projected values.
    """
    height, width = queries.shape[-2:]
    cells, valid = clicked_cells(clicks, height, width, stride)
    key_nodes, value_nodes = gather_cells(keys, cells), gather_cells(values, cells)
    if sign_embedding is not None:
        signs = sign_embedding((clicks[..., 2] < 0).long())
        key_nodes = key_nodes + signs
    if project_key is not None:
        key_nodes = project_key(key_nodes)
    if project_value is not None:
        value_nodes = project_value(value_nodes)
    affinity = key_nodes @ cells_of(queries).transpose(1, 2) / queries.shape[1] ** 0.5
    # a finite floor instead of -inf: with no node at all the softmax stays finite, and the product below is
    # zero
    affinity = affinity.masked_fill(~valid[..., None], torch.finfo(affinity.dtype).min)
    weights = affinity.softmax(dim=1) * valid[..., None]
    message = weights.to(value_nodes.dtype).transpose(1, 2) @ value_nodes
    return message.unflatten(1, (height, width)).permute(0, 3, 1, 2)


def clicked_cells(clicks: Tensor, height: int, width: int, stride: int) -> tuple[Tensor, Tensor]:
    """Cells of a (height, width) map that the clicks fall into.

    Validity is decided in input pixels before the division: a click left of the image must not wrap into the
    row above.

    Returns:
        Flat cell indices (B, N) int64 (0 where invalid) and validity (B, N) bool.
    """
    rows, cols, signs = clicks.unbind(-1)
    valid = inside(rows, cols, height * stride, width * stride) & (signs != 0)
    row = (rows + 0.5).floor().long() // stride
    col = (cols + 0.5).floor().long() // stride
    return torch.where(valid, row * width + col, 0), valid


def gather_cells(features: Tensor, cells: Tensor) -> Tensor:
    """Features (B, C, h, w) at flat cells (B, N), as nodes (B, N, C)."""
    index = cells[..., None].expand(-1, -1, features.shape[1])
    return cells_of(features).gather(1, index)


def cells_of(features: Tensor) -> Tensor:
    """A map (B, C, h, w) as its cells (B, h * w, C); a view where the channels of a cell lie side by side."""
    return features.permute(0, 2, 3, 1).flatten(1, 2)


class Propagation(nn.Module):
    """Messages of the clicks to every pixel, times gamma.

    Gamma starts at zero, so training starts from the network without propagation. With `dense` the keys and
    values of whole maps are projected, as the official code does, instead of those of the clicked cells: the
    same messages for more work, there to compare costs.
    """

    def __init__(self, channels: int, depth: int, sign_embedding: bool, dense: bool = False) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, depth, 1)
        self.key = nn.Linear(channels, depth)
        self.value = nn.Linear(channels, channels)
        self.signs = zero_embedding(channels) if sign_embedding else None
        self.gamma = nn.Parameter(torch.zeros(()))
        self.dense = dense

    def forward(self, affinity: Tensor, content: Tensor, clicks: Tensor, stride: int) -> Tensor:
        """Message (B, C, h, w).

        Args:
            affinity: map that decides which click a pixel listens to, (B, C, h, w).
            content: map that the messages are made of, (B, C, h, w).
            clicks: (B, N, 3).
            stride: input pixels a cell.
        """
        queries = self.query(affinity)
        if self.dense:
            keys, values = project_map(self.key, affinity), project_map(self.value, content)
            return self.gamma * sparse_propagate(queries, keys, values, clicks, stride)
        return self.gamma * sparse_propagate(
            queries, affinity, content, clicks, stride, self.key, self.value, self.signs
        )


class SGN(nn.Module):
    """Sparse graph network: K heads of click propagation on the semantic map, averaged (arXiv 2203.05145)."""

    def __init__(
        self, channels: int, heads: int = 3, sign_embedding: bool = False, dense: bool = False
    ) -> None:
        super().__init__()
        depth = max(1, channels // 3)
        self.heads = nn.ModuleList(Propagation(channels, depth, sign_embedding, dense) for _ in range(heads))
        self.out = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        )

    def forward(self, features: Tensor, clicks: Tensor, stride: int) -> Tensor:
        """Features and result (B, C, h, w); clicks (B, N, 3)."""
        # stacked, the messages would lose their memory format, and all be copied on the way there and back
        messages = reduce(torch.add, (head(features, features, clicks, stride) for head in self.heads))
        return self.out(features + messages / len(self.heads))


class Fusion(nn.Module):
    """The semantic map brought to the stem's resolution and fused with it (row "+Fuse" of the ablation).

    Where `width` is less than the semantic map's channels, that map is reduced first (bottleneck form): the
    two 3x3 convolutions at stride 2 are nine tenths of the cost of the paper's form.
    """

    def __init__(self, channels: int, stem_channels: int, width: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, width, 1) if width != channels else nn.Identity()
        self.fuse = nn.Sequential(conv_bn_relu(width + stem_channels, width), conv_bn_relu(width, width))

    def forward(self, semantic: Tensor, stem: Tensor, clicks: Tensor, stride: int) -> Tensor:
        """Semantic (B, C, h, w), stem (B, Cl, H, W) at `stride`; returns (B, width, H, W)."""
        return self._both(semantic, stem)[1]

    def _both(self, semantic: Tensor, stem: Tensor) -> tuple[Tensor, Tensor]:
        """Semantic map at the stem's resolution, and that fused with the stem."""
        semantic = resize(self.reduce(semantic), stem.shape[-2:])
        return semantic, self.fuse(torch.cat([semantic, stem], dim=1))


class FusionSGN(Fusion):
    """Propagation on the fused map, which decides the affinity too (row "+Fuse+SGN")."""

    def __init__(
        self, channels: int, stem_channels: int, width: int, sign_embedding: bool = False, dense: bool = False
    ) -> None:
        super().__init__(channels, stem_channels, width)
        # a third as in SGN; a map that was reduced can do with less reduction
        depth = max(1, width // 3 if width == channels else width // 2)
        self.propagation = Propagation(width, depth, sign_embedding, dense)

    def forward(self, semantic: Tensor, stem: Tensor, clicks: Tensor, stride: int) -> Tensor:
        """As `Fusion`, with the messages of the clicks added."""
        _, fused = self._both(semantic, stem)
        return fused + self.propagation(fused, fused, clicks, stride)


class HSGN(FusionSGN):
    """Hierarchical SGN: propagation at high resolution with the affinity of the semantic map.

    Low-level features say little about which pixels belong together, so they carry the message only.
    """

    def forward(self, semantic: Tensor, stem: Tensor, clicks: Tensor, stride: int) -> Tensor:
        """As `Fusion`, with the messages of the clicks added."""
        semantic, fused = self._both(semantic, stem)
        return fused + self.propagation(semantic, fused, clicks, stride)


def project_map(layer: nn.Module, features: Tensor) -> Tensor:
    """Apply a linear layer to every cell of a map (B, C, h, w)."""
    return layer(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def zero_embedding(channels: int) -> nn.Embedding:
    """Two vectors, for positive and negative, that start as no difference."""
    embedding = nn.Embedding(2, channels)
    nn.init.zeros_(embedding.weight)
    return embedding
