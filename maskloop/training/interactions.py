"""Click sessions up to the moment that the network learns from."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from maskloop.simulation import corrective_click, external_masks, first_clicks, random_clicks
from maskloop.views import View

FIRST_CLICK_SHARE = 0.8
"""Share of items that start from one interior click; the others start from random clicks."""
EXTERNAL_SHARE = 0.2
"""Share of items whose previous mask comes from elsewhere and whose first click corrects it."""
ROUNDS = (0.5, 0.2, 0.15, 0.15)
"""Probability of 0, 1, 2, 3 rounds of simulated clicking before the step; the first click matters most."""

Predict = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Image, previous mask and clicks to the probability of the mask, (B, 1, H, W)."""


@dataclass(frozen=True)
class Interaction:
    """A batch in the middle of a click session: previous mask (B, 1, H, W), clicks (B, N, 3)."""

    view: View
    previous: Tensor
    clicks: Tensor


def start_interaction(batch: View, generator: Generator) -> Interaction:
    """Per item one interior click, several random clicks, or an external mask with its first correction."""
    count = batch.target.shape[0]
    draws = torch.rand(2, count, generator=generator).to(batch.image.device)
    external = draws[0] < EXTERNAL_SHARE
    masks = external_masks(batch.target, batch.others, generator) * external[:, None, None, None]
    one = corrective_click(masks, batch.target, first_clicks(batch.target, generator)[:, :0], generator)
    several = random_clicks(batch.target, batch.others, generator)
    single = external | (draws[1] < FIRST_CLICK_SHARE)
    one = torch.cat([one, torch.zeros(count, several.shape[1] - 1, 3, device=one.device)], dim=1)
    return Interaction(batch, masks, torch.where(single[:, None, None], one, several))


def draw_rounds(generator: Generator) -> int:
    """How often the network predicts and is corrected before the step."""
    return int(torch.multinomial(torch.tensor(ROUNDS), 1, generator=generator))


def click_on(
    start: Interaction, predict: Predict, rounds: int, again: bool, generator: Generator
) -> Interaction:
    """Predict and correct for some rounds, without gradients.

    Args:
        start: where the session stands.
        predict: the network, or the cascade.
        rounds: each adds one click.
        again: predict once more in the end and add no click.
        generator: of the random numbers.
    """
    view, previous, clicks = start.view, start.previous, start.clicks
    with torch.no_grad():
        for number in range(rounds + again):
            previous = predict(view.image, previous, clicks)
            if number < rounds:
                clicks = corrective_click(previous, view.target, clicks, generator)
    return Interaction(view, previous, clicks)
