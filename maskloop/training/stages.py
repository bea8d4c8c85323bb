"""What is trained: one network, or the second network of the cascade."""

from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor

from maskloop.checkpoint import FINETUNED
from maskloop.losses import binary_cross_entropy, normalised_focal_loss
from maskloop.model import CSFPN, Logits
from maskloop.training.config import TrainingConfig
from maskloop.training.interactions import Interaction
from maskloop.training.windows import Windows, zoom_windows

AUXILIARY_WEIGHT = 0.4


class CoarseStage:
    """One network, alone; it is used for both passes of a cascade that shares its weights."""

    again_share = 0.25
    """Share of steps with one more prediction that no click follows: what the second pass sees."""

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


class FineStage:
    """A second network for the region that the first one's mask zooms in on (CSFPN, arXiv 2203.05145).

    It starts as a copy of the first, sees the first one's mask as its previous mask, and its result is pasted
    over that mask. Clicks are simulated on the whole view.
    """

    again_share = 0.0

    def __init__(self, coarse: CSFPN, precision: str) -> None:
        self.model = deepcopy(coarse)
        self.coarse = coarse.eval()
        self._precision = precision

    def predict(self, image: Tensor, previous: Tensor, clicks: Tensor) -> Tensor:
        """Probability of the mask after both networks, (B, 1, S, S)."""
        windows, coarse = self._look(image, previous, clicks)
        return windows.paste(self._refine(windows, image, coarse, clicks).sigmoid(), coarse)

    def loss(self, interaction: Interaction) -> Tensor:
        """The main loss alone, on the zoomed region."""
        image, clicks = interaction.view.image, interaction.clicks
        windows, coarse = self._look(image, interaction.previous, clicks)
        logits = self._refine(windows, image, coarse, clicks)
        return normalised_focal_loss(logits, windows.crop_labels(interaction.view.target)[:, None])

    def _look(self, image: Tensor, previous: Tensor, clicks: Tensor) -> tuple[Windows, Tensor]:
        """Where to zoom in, and the coarse probability (B, 1, H, W)."""
        with torch.no_grad():
            coarse = forward(self.coarse, image, previous, clicks, self._precision).mask.sigmoid()
        return zoom_windows(coarse, clicks), coarse

    def _refine(self, windows: Windows, image: Tensor, coarse: Tensor, clicks: Tensor) -> Tensor:
        """Mask logits of the windows, (B, 1, S, S)."""
        zoomed = windows.clicks(clicks, image.shape[-1])
        return forward(self.model, windows.crop(image), windows.crop(coarse), zoomed, self._precision).mask


def build_stage(model: CSFPN, config: TrainingConfig) -> CoarseStage | FineStage:
    """The stage that the configuration names; `model` is where it starts."""
    if config.stage == "fine":
        return FineStage(model, config.precision)
    if model.config.cascade == FINETUNED:
        # its fine network was made for the masks of the network as it was
        model.config = replace(model.config, cascade="shared")
    return CoarseStage(model, config.precision)


def forward(model: CSFPN, image: Tensor, previous: Tensor, clicks: Tensor, precision: str) -> Logits:
    """The network's logits in float32, whatever they were computed in; shapes as `CSFPN.forward`."""
    image = image.contiguous(memory_format=torch.channels_last)
    with torch.autocast(image.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        logits = model(image, previous, clicks)
    return Logits(logits.mask.float(), logits.auxiliary.float())
