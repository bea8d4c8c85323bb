"""Heads: features to one logit a cell."""

import torch
from torch import Tensor, nn

from maskloop.model.layers import SeparableBlock, conv_bn_relu, resize

OBJECT_CONTEXT_WIDTH = 128
"""Channels of the head of RITM's HRNet-18."""
DROPOUT = 0.05


class SeparableHead(nn.Module):
    """One separable convolution; the head of our small networks."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(SeparableBlock(channels, channels), nn.Conv2d(channels, 1, 1))

    def forward(self, features: Tensor, prior: Tensor) -> Tensor:
        """Features (B, C, h, w) to logits (B, 1, h, w); the prior is for heads that need one."""
        return self.layers(features)


class DeepLabHead(nn.Module):
    """Two separable convolutions at half the width; the head of RITM's DeepLabV3+."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.layers = nn.Sequential(
            SeparableBlock(channels, half, kernel=3),
            SeparableBlock(half, half, kernel=3),
            nn.Conv2d(half, 1, 1),
        )

    def forward(self, features: Tensor, prior: Tensor) -> Tensor:
        """Features (B, C, h, w) to logits (B, 1, h, w); the prior is for heads that need one."""
        return self.layers(features)


class ObjectContextHead(nn.Module):
    """OCR with one class (Yuan et al. 2020), as on RITM's HRNet; published weights do not fit.

    The auxiliary logits weigh the features to one vector that describes the object, and every cell sees it
    beside its own features. With one class OCR's attention over classes is constantly 1: its query and key
    layers have no influence and no gradient, so they are left out and the result is the same.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = OBJECT_CONTEXT_WIDTH
        self.features = conv_bn_relu(channels, width)
        self.down = conv_bn_relu(width, width // 2, kernel=1)
        self.up = conv_bn_relu(width // 2, width, kernel=1)
        self.merge = nn.Sequential(conv_bn_relu(2 * width, width, kernel=1), nn.Dropout2d(DROPOUT))
        self.classify = nn.Conv2d(width, 1, 1)

    def forward(self, features: Tensor, prior: Tensor) -> Tensor:
        """Features (B, C, h, w) and auxiliary logits (B, 1, ., .) to logits (B, 1, h, w)."""
        x = self.features(features)
        weights = resize(prior, x.shape[-2:]).flatten(2).softmax(dim=2)
        vector = torch.einsum("bip,bcp->bc", weights, x.flatten(2))[..., None, None]
        # the vector is spread over the map first, as OCR does, so that its layers see a map's statistics
        context = self.up(self.down(vector.expand(-1, -1, *x.shape[-2:])))
        return self.classify(self.merge(torch.cat([context, x], dim=1)))


class DeepAuxiliary(nn.Sequential):
    """Auxiliary logits of RITM's HRNet."""

    def __init__(self, channels: int) -> None:
        super().__init__(conv_bn_relu(channels, channels, kernel=1), nn.Conv2d(channels, 1, 1))


HEADS = {"separable": SeparableHead, "deeplab": DeepLabHead, "ocr": ObjectContextHead}
