"""Blending: the mean of a network's weights before and after it was fine-tuned.

A network half way back to where it came from keeps most of what it learnt, and most of what it knew: the two
lie in one valley of the loss. Source: WiSE-FT (arXiv 2109.01903).
"""

from torch import nn

from maskloop.errors import TrainingError


def blend(tuned: nn.Module, start: nn.Module, share: float) -> None:
    """Replace the weights of `tuned` by `share` of them and the rest of those of `start`.

    Raises:
        TrainingError: the share is not above 0 and at most 1, or the networks are not alike.
    """
    if not 0 < share <= 1:
        raise TrainingError(f"blend is {share}; it must be above 0 and at most 1, which is no blending")
    before = start.state_dict()
    after = tuned.state_dict()
    if {name: value.shape for name, value in before.items()} != {
        name: value.shape for name, value in after.items()
    }:
        raise TrainingError("a network can be blended with the one alone that it was tuned from")
    for name, value in after.items():
        if value.is_floating_point():
            value.lerp_(before[name], 1 - share)
