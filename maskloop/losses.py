"""Losses of click training. Targets are 1 object, 0 background, -1 ignored."""

from torch import Tensor
from torch.nn import functional as F


def normalised_focal_loss(logits: Tensor, target: Tensor, alpha: float = 0.5, gamma: float = 2.0) -> Tensor:
    """Focal loss, its weights rescaled to sum to the pixels: gradients do not fade as masks improve.

    Source: Sofiiuk et al. 2019 (AdaptIS), as used by RITM and CSFPN. The factor `alpha` weighs both classes
    alike.

    Args:
        logits: (B, 1, H, W).
        target: (B, 1, H, W) in {1, 0, -1}.
        alpha: factor of the whole loss.
        gamma: how strongly easy pixels are played down.

    Returns:
        Mean over items of the mean over valid pixels, scalar.
    """
    valid = (target >= 0).to(logits.dtype)
    # log of the probability of the true class, without leaving the log domain
    log_true = -F.binary_cross_entropy_with_logits(
        logits, target.clamp(min=0).to(logits.dtype), reduction="none"
    )
    focus = (1 - log_true.exp()).pow(gamma) * valid
    pixels = valid.sum(dim=(1, 2, 3))
    scale = (pixels / (focus.sum(dim=(1, 2, 3)) + 1e-12)).detach()
    loss = -(focus * log_true).sum(dim=(1, 2, 3)) * scale / pixels.clamp(min=1)
    return alpha * loss.mean()


def binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over all pixels, ignored ones counting zero; shapes as above."""
    valid = target >= 0
    loss = F.binary_cross_entropy_with_logits(logits, target.clamp(min=0).to(logits.dtype), reduction="none")
    return (loss * valid).mean()
