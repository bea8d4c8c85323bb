"""ResNet with output stride 8: the last two stages dilate, not stride (He et al. 2016, Chen et al. 2018).

The stem is the plain 7x7 of the published weights. RITM's ResNet-50 and -101 have three 3x3 convolutions and
128 channels there, which those weights do not fit; at 320x480 that is 4 GMAC more than here.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from maskloop.model.encoders.base import Encoder, Normalise
from maskloop.model.encoders.residual import BasicBlock, Bottleneck, ResidualBlock
from maskloop.model.encoders.weights import Published

STEM = 64
STAGES = (
    # width, stride, dilation
    (64, 1, 1),
    (128, 2, 1),
    (256, 1, 2),
    (512, 1, 4),
)


@dataclass(frozen=True)
class Layout:
    """How deep a ResNet is.

    Attributes:
        depth: by which it is known.
        block: what its stages are made of.
        counts: blocks of each stage.
        width: channels of its DeepLabV3+ decoder in RITM.
    """

    depth: int
    block: type[ResidualBlock]
    counts: tuple[int, int, int, int]
    width: int


R34 = Layout(34, BasicBlock, (3, 4, 6, 3), width=128)
R50 = Layout(50, Bottleneck, (3, 4, 6, 3), width=256)
R101 = Layout(101, Bottleneck, (3, 4, 23, 3), width=256)


class ResNet(Encoder):
    """Encoder with a stem feature at stride 2 and two maps: stage 1 at stride 4, stage 4 at stride 8."""

    stem_channels = STEM
    decoder = "deeplab"

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        expansion = layout.block.expansion
        self.channels = (STAGES[0][0] * expansion, STAGES[-1][0] * expansion)
        self.width = layout.width
        name = f"resnet{layout.depth}"
        self.published = Published(
            f"ResNet-{layout.depth}",
            f"the ImageNet weights of {name} in torchvision or timm",
            unused=("fc.",),
        )
        self.normalise = Normalise()
        self.conv1 = nn.Conv2d(3, STEM, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.layer1, self.layer2, self.layer3, self.layer4 = _stages(layout)

    def stem(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) in 0..1 to stem feature (B, 64, ceil(H/2), ceil(W/2))."""
        return F.relu(self.bn1(self.conv1(self.normalise(image))))

    def forward(self, stem: Tensor) -> list[Tensor]:
        """Stem feature to maps at strides 4 and 8."""
        fine = self.layer1(F.max_pool2d(stem, 3, stride=2, padding=1))
        return [fine, self.layer4(self.layer3(self.layer2(fine)))]


def _stages(layout: Layout) -> list[nn.Sequential]:
    stages = []
    inputs, reached = STEM, 1
    for (width, stride, dilation), count in zip(STAGES, layout.counts, strict=True):
        # where a stage was trained to stride, its first convolution still sees the grid of the one before
        blocks = [layout.block(inputs, width, stride, dilation, entry=reached)]
        inputs, reached = width * layout.block.expansion, dilation
        blocks += [layout.block(inputs, width, 1, dilation, entry=dilation) for _ in range(count - 1)]
        stages.append(nn.Sequential(*blocks))
    return stages
