"""HRNetV2: branches at strides 4 to 32 side by side, which exchange what they see (Wang et al. 2020)."""

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from maskloop.model.encoders.base import Encoder, Normalise
from maskloop.model.encoders.residual import BasicBlock, Bottleneck, conv3x3, projection
from maskloop.model.encoders.weights import Published
from maskloop.model.layers import resize

STEM = 64


@dataclass(frozen=True)
class Layout:
    """How large an HRNet is.

    Attributes:
        width: channels of the finest branch; each coarser one has twice as many.
        bottlenecks: blocks before the branches part.
        blocks: a branch of one module.
        modules: of stages 2, 3 and 4.
    """

    width: int
    bottlenecks: int
    blocks: int
    modules: tuple[int, int, int]

    def widths(self, branches: int) -> tuple[int, ...]:
        """Channels of so many branches, finest first."""
        return tuple(self.width << branch for branch in range(branches))


W18 = Layout(width=18, bottlenecks=4, blocks=4, modules=(1, 4, 3))
W18_SMALL = Layout(width=18, bottlenecks=2, blocks=2, modules=(1, 3, 2))
CLASSIFIER = ("incre_modules.", "downsamp_modules.", "final_layer.", "classifier.")
PUBLISHED = {
    W18: Published(
        "HRNetV2-W18",
        "hrnetv2_w18_imagenet_pretrained.pth of HRNet/HRNet-Image-Classification, or hrnet_w18 of timm",
        CLASSIFIER,
    ),
    W18_SMALL: Published(
        "HRNetV2-W18-Small-v2",
        "hrnet_w18_small_model_v2.pth of HRNet/HRNet-Image-Classification, or hrnet_w18_small_v2 of timm",
        CLASSIFIER,
    ),
}


class HRNet(Encoder):
    """Encoder with a stem feature at stride 2 and the four branches of stage 4, at strides 4 to 32.

    Branches are resized bilinearly to the size of the one they join, as RITM does; the published classifiers
    repeat cells instead.
    """

    stem_channels = STEM
    decoder = "concat"

    def __init__(self, layout: Layout = W18) -> None:
        super().__init__()
        self.channels = layout.widths(4)
        self.width = sum(self.channels)
        self.published = PUBLISHED[layout]
        self.normalise = Normalise()
        self.conv1 = conv3x3(3, STEM, stride=2)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.conv2 = conv3x3(STEM, STEM, stride=2)
        self.bn2 = nn.BatchNorm2d(STEM)
        top = STEM * Bottleneck.expansion
        self.layer1 = nn.Sequential(
            *(Bottleneck(top if block else STEM, STEM) for block in range(layout.bottlenecks))
        )
        self.transition1 = _transition((top,), layout.widths(2))
        self.stage2 = _stage(layout, 2)
        self.transition2 = _transition(layout.widths(2), layout.widths(3))
        self.stage3 = _stage(layout, 3)
        self.transition3 = _transition(layout.widths(3), layout.widths(4))
        self.stage4 = _stage(layout, 4)

    def stem(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) in 0..1 to stem feature (B, 64, ceil(H/2), ceil(W/2))."""
        return F.relu(self.bn1(self.conv1(self.normalise(image))))

    def forward(self, stem: Tensor) -> list[Tensor]:
        """Stem feature to maps at strides 4, 8, 16, 32."""
        x = self.layer1(F.relu(self.bn2(self.conv2(stem))))
        maps = self.stage2(_branch_out(self.transition1, [x]))
        maps = self.stage3(_branch_out(self.transition2, maps))
        return self.stage4(_branch_out(self.transition3, maps))


class Exchange(nn.Module):
    """One module: every branch through its blocks, then every branch into every other."""

    def __init__(self, widths: tuple[int, ...], blocks: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width, width) for _ in range(blocks))) for width in widths
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_path(widths, source, target) for source in range(len(widths)))
            for target in range(len(widths))
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        maps = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        return [F.relu(self._arrivals(target, maps)) for target in range(len(maps))]

    def _arrivals(self, target: int, maps: list[Tensor]) -> Tensor:
        """The sum of all branches in the shape of one."""
        total = maps[target]
        for source, layer in enumerate(self.fuse_layers[target].children()):
            if source < target:
                total = total + layer(maps[source])
            elif source > target:
                total = total + resize(layer(maps[source]), total.shape[-2:])
        return total


def _stage(layout: Layout, branches: int) -> nn.Sequential:
    count = layout.modules[branches - 2]
    return nn.Sequential(*(Exchange(layout.widths(branches), layout.blocks) for _ in range(count)))


def _path(widths: tuple[int, ...], source: int, target: int) -> nn.Module:
    """Layers from one branch to another: 1x1 to a finer one, a chain of strided 3x3 to a coarser one."""
    if source == target:
        return nn.Identity()
    if source > target:
        return projection(widths[source], widths[target])
    steps = [widths[source]] * (target - source) + [widths[target]]
    chain = [_conv_bn(before, after, stride=2) for before, after in pairwise(steps)]
    return nn.Sequential(*(nn.Sequential(*step, nn.ReLU()) for step in chain[:-1]), chain[-1])


def _transition(before: tuple[int, ...], after: tuple[int, ...]) -> nn.ModuleList:
    """From the branches of one stage to those of the next, which has one more."""
    kept = [
        nn.Identity() if old == new else nn.Sequential(*_conv_bn(old, new), nn.ReLU())
        for old, new in zip(before, after, strict=False)
    ]
    # a chain of one, as the published names have it
    added = nn.Sequential(nn.Sequential(*_conv_bn(before[-1], after[-1], stride=2), nn.ReLU()))
    return nn.ModuleList([*kept, added])


def _branch_out(transition: nn.ModuleList, maps: list[Tensor]) -> list[Tensor]:
    """Maps of the next stage; its new branch starts from the coarsest map."""
    return [layer(x) for layer, x in zip(transition, [*maps, maps[-1]], strict=True)]


def _conv_bn(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(conv3x3(inputs, outputs, stride), nn.BatchNorm2d(outputs))
