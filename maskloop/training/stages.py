"""What is trained: one network, or the second network of the cascade."""

from abc import ABC, abstractmethod
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor

from maskloop.checkpoint import FINETUNED
from maskloop.errors import TrainingError
from maskloop.losses import binary_cross_entropy, normalised_focal_loss
from maskloop.model import CSFPN, Logits
from maskloop.model.layers import resize
from maskloop.model.prompted import STRIDE, PromptedViT
from maskloop.training.config import TrainingConfig
from maskloop.training.interactions import Interaction
from maskloop.training.windows import Windows, zoom_windows

AUXILIARY_WEIGHT = 0.4


class CoarseStage:
    """One network, alone; it is used for both passes of a cascade that shares its weights."""

    again_share = 0.25
    """Share of steps with one more prediction that no click follows: what the second pass sees."""
    view_scale = 1
    """Side of the views as a multiple of the side at which the network sees them."""

    def __init__(self, model: CSFPN, precision: str) -> None:
        self.model = model
        self.coarse: CSFPN | None = None
        self._precision = precision

    def predict(self, image: Tensor, previous: Tensor, clicks: Tensor) -> Tensor:
        """Probability of the mask, (B, 1, H, W); arguments as `CSFPN.forward`."""
        return forward(self.model, image, previous, clicks, self._precision).mask.sigmoid()

    def loss(self, interaction: Interaction) -> Tensor:
        """What learning lowers, a scalar with gradient."""
        image, target = interaction.view.image, interaction.view.target[:, None]
        logits = forward(self.model, image, interaction.previous, interaction.clicks, self._precision)
        main = normalised_focal_loss(logits.mask, target)
        return main + AUXILIARY_WEIGHT * binary_cross_entropy(logits.auxiliary, target)


class ZoomStage(ABC):
    """A network for the region that the mask of another one zooms in on (CSFPN, arXiv 2203.05145).

    It sees the other's mask as its previous mask, and its result is pasted over that mask. Clicks are
    simulated on the whole view.
    """

    model: CSFPN
    coarse: CSFPN | None = None
    again_share = 0.0
    view_scale = 1

    def __init__(self, config: TrainingConfig) -> None:
        self._precision = config.precision
        self._side = config.size

    def predict(self, image: Tensor, previous: Tensor, clicks: Tensor) -> Tensor:
        """Probability of the mask after both networks, (B, 1, S, S)."""
        windows, first = self._zoom(image, previous, clicks)
        return windows.paste(self._refine(windows, image, first, clicks).sigmoid(), first)

    def loss(self, interaction: Interaction) -> Tensor:
        """The main loss alone, on the zoomed region."""
        image, clicks = interaction.view.image, interaction.clicks
        windows, first = self._zoom(image, interaction.previous, clicks)
        logits = self._refine(windows, image, first, clicks)
        labels = windows.crop_labels(interaction.view.target, self._side)
        return normalised_focal_loss(logits, labels[:, None])

    @abstractmethod
    def _look(self, image: Tensor, previous: Tensor, clicks: Tensor) -> Tensor:
        """The other network's mask logits of the view, (B, 1, S, S); arguments as `CSFPN.forward`."""

    def _zoom(self, image: Tensor, previous: Tensor, clicks: Tensor) -> tuple[Windows, Tensor]:
        """Where to zoom in, and the other network's probability (B, 1, S, S)."""
        with torch.no_grad():
            first = self._look(image, previous, clicks).sigmoid()
        return zoom_windows(first, clicks), first

    def _refine(self, windows: Windows, image: Tensor, first: Tensor, clicks: Tensor) -> Tensor:
        """Mask logits of the windows, (B, 1, side, side)."""
        shown = windows.crop(image, self._side)
        zoomed = windows.clicks(clicks, shown.shape[-1])
        return forward(self.model, shown, windows.crop(first, self._side), zoomed, self._precision).mask


class FineStage(ZoomStage):
    """The second network of a cascade: a copy of the first, which is kept as it is."""

    coarse: CSFPN

    def __init__(self, coarse: CSFPN, config: TrainingConfig) -> None:
        super().__init__(config)
        self.model = deepcopy(coarse)
        self.coarse = coarse.eval()

    def _look(self, image: Tensor, previous: Tensor, clicks: Tensor) -> Tensor:
        return forward(self.coarse, image, previous, clicks, self._precision).mask


class PromptedStage(ZoomStage):
    """The network after a `PromptedViT`, which is kept as it is, and looks once at a view for all its clicks.

    The look is at views of twice the side at which regions are shown: in use, too, it sees larger images.
    """

    view_scale = 2

    def __init__(self, model: CSFPN, prompted: PromptedViT, config: TrainingConfig) -> None:
        super().__init__(config)
        self.model = model
        self._prompted = prompted
        self._seen: tuple[Tensor, Tensor] | None = None
        """The last view, and its features."""

    def _look(self, image: Tensor, previous: Tensor, clicks: Tensor) -> Tensor:
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self._precision == "bfloat16"):
            if self._seen is None or self._seen[0] is not image:
                self._seen = image, self._prompted.encode(image)
            logits = self._prompted.decode(self._seen[1], previous, clicks)
        return resize(logits.float(), image.shape[-2:])


def build_stage(model: CSFPN, config: TrainingConfig) -> CoarseStage | ZoomStage:
    """The stage that the configuration names; `model` is where it starts.

    Raises:
        TrainingError: views that the prompted network cannot look at.
    """
    if config.stage == "coarse":
        if model.config.cascade == FINETUNED:
            # its fine network was made for the masks of the network as it was
            model.config = replace(model.config, cascade="shared")
        return CoarseStage(model, config.precision)
    if model.prompted is None:
        return FineStage(model, config)
    if config.size * PromptedStage.view_scale % STRIDE:
        raise TrainingError(
            f"size is {config.size}; twice as much is looked at, in cells of {STRIDE} pixels: "
            "give a multiple of 8"
        )
    return PromptedStage(model, model.prompted, config)


def forward(model: CSFPN, image: Tensor, previous: Tensor, clicks: Tensor, precision: str) -> Logits:
    """The network's logits in float32, whatever they were computed in; shapes as `CSFPN.forward`."""
    image = image.contiguous(memory_format=torch.channels_last)
    with torch.autocast(image.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        logits = model(image, previous, clicks)
    return Logits(logits.mask.float(), logits.auxiliary.float())
