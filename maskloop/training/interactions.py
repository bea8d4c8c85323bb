"""Click sessions up to the moment that the network learns from."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from maskloop.simulation import corrective_click, external_masks, first_clicks, random_clicks
from maskloop.training.config import TrainingConfig
from maskloop.views import View

Predict = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Image, previous mask and clicks to the probability of the mask, (B, 1, H, W)."""


@dataclass(frozen=True)
class Interaction:
    """A batch in the middle of a click session: previous mask (B, 1, H, W), clicks (B, N, 3)."""

    view: View
    previous: Tensor
    clicks: Tensor


def start_interaction(batch: View, config: TrainingConfig, generator: Generator) -> Interaction:
    """Per item one interior click, several random clicks, or an external mask with its first correction.

    Args:
        batch: of views; of the items with clicks of people a share starts from those, without a mask.
        config: how many items start how.
        generator: of the random numbers, on the CPU.
    """
    count = batch.target.shape[0]
    draws = torch.rand(2, count, generator=generator).to(batch.image.device)
    external = draws[0] < config.external_masks
    masks = external_masks(batch.target, batch.others, generator) * external[:, None, None, None]
    one = corrective_click(masks, batch.target, first_clicks(batch.target, generator)[:, :0], generator)
    several = random_clicks(batch.target, batch.others, generator)
    single = external | (draws[1] < config.one_click)
    one = torch.cat([one, torch.zeros(count, several.shape[1] - 1, 3, device=one.device)], dim=1)
    clicks = torch.where(single[:, None, None], one, several)
    if batch.clicks is None or not config.real_clicks:
        return Interaction(batch, masks, clicks)
    real = real_clicks(batch.clicks[:, : clicks.shape[1]], generator)
    chosen = (torch.rand(count, generator=generator) < config.real_clicks).to(real.device)
    chosen &= (real[..., 2] > 0).any(dim=1)
    clicks = torch.where(
        chosen[:, None, None], F.pad(real, (0, 0, 0, clicks.shape[1] - real.shape[1])), clicks
    )
    return Interaction(batch, masks * ~chosen[:, None, None, None], clicks)


def real_clicks(clicks: Tensor, generator: Generator) -> Tensor:
    """Per item the first k of its clicks, k random; no fewer than it takes to have a positive one.

    Args:
        clicks: of people, (B, N, 3); slots of sign 0 are empty, wherever they are.
        generator: of the random numbers, on the CPU.

    Returns:
        (B, N, 3); all empty for an item without a positive click, as that does not tell the object.
    """
    signs = clicks[..., 2]
    number = (signs != 0).cumsum(dim=1)  # of each click, from 1 on
    total = number[:, -1]
    least = torch.where(signs > 0, number, total[:, None] + 1).amin(dim=1)
    draw = torch.rand(len(clicks), generator=generator).to(clicks.device)
    most = least + (draw * (total - least + 1)).long()
    kept = (number <= most[:, None]) & (least <= total)[:, None]
    return torch.cat([clicks[..., :2], (signs * kept)[..., None]], dim=-1)


def draw_rounds(config: TrainingConfig, generator: Generator) -> int:
    """How often the network predicts and is corrected before the step."""
    return int(torch.multinomial(torch.tensor(config.rounds), 1, generator=generator))


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
