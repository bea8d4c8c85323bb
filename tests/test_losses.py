import math

import pytest
import torch

from maskloop.losses import binary_cross_entropy, normalised_focal_loss


def test_normalised_focal_loss__by_hand() -> None:
    logits = torch.tensor([[[[0.0, math.log(3)]]]])  # true-class probabilities 1/2 and 1/4
    target = torch.tensor([[[[1, 0]]]])
    focus = [0.25, 0.5625]
    scale = 2 / sum(focus)
    expected = 0.5 * scale / 2 * (focus[0] * math.log(2) + focus[1] * math.log(4))
    assert normalised_focal_loss(logits, target) == pytest.approx(expected)


@pytest.mark.parametrize("loss", [normalised_focal_loss, binary_cross_entropy])
def test_losses__ignored_pixels_have_no_gradient(loss) -> None:
    logits = torch.randn(2, 1, 4, 4, requires_grad=True)
    target = torch.randint(0, 2, (2, 1, 4, 4))
    target[..., 0] = -1
    loss(logits, target).backward()
    assert logits.grad is not None
    assert (logits.grad[..., 0] == 0).all()
    assert (logits.grad[..., 1:] != 0).all()


def test_normalised_focal_loss__everything_ignored_is_zero() -> None:
    assert normalised_focal_loss(torch.randn(1, 1, 2, 2), torch.full((1, 1, 2, 2), -1)) == 0
