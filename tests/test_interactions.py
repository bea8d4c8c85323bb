"""Where click sessions start: from clicks of people, or from simulated ones."""

from dataclasses import replace

import torch
from torch import Generator

from maskloop.training import TrainingConfig
from maskloop.training.interactions import draw_rounds, real_clicks, start_interaction
from maskloop.views import View

BATCH = 200
FIRST, SECOND, THIRD = [20.0, 20.0, 1.0], [3.0, 40.0, -1.0], [40.5, 30.0, 1.0]


def batch(clicks=None):
    target = torch.zeros(BATCH, 64, 64, dtype=torch.long)
    target[:, 16:44, 16:40] = 1
    given = None if clicks is None else torch.tensor(clicks).expand(BATCH, -1, -1)
    return View(torch.zeros(BATCH, 3, 64, 64), target, torch.zeros(BATCH, 64, 64, dtype=torch.bool), given)


def start(clicks, share, seed=1, **others):
    config = TrainingConfig(real_clicks=share, **others)
    return start_interaction(batch(clicks), config, Generator().manual_seed(seed))


def made(clicks):
    """Clicks of each item without the empty slots."""
    return [[click for click in item if click[2]] for item in clicks.tolist()]


def test_real_clicks__first_ones_in_order():
    clicks = torch.tensor([FIRST, SECOND, THIRD]).expand(BATCH, -1, -1)
    chosen = made(real_clicks(clicks, Generator().manual_seed(1)))
    prefixes = [[FIRST], [FIRST, SECOND], [FIRST, SECOND, THIRD]]
    counts = [chosen.count(prefix) for prefix in prefixes]
    assert sum(counts) == BATCH
    assert min(counts) > BATCH / 5, "each of the three as often"


def test_real_clicks__never_without_a_positive_one():
    clicks = torch.tensor([SECOND, [0.0, 0.0, 0.0], FIRST, THIRD]).expand(BATCH, -1, -1)
    chosen = made(real_clicks(clicks, Generator().manual_seed(1)))
    assert {len(item) for item in chosen} == {2, 3}
    assert all(item[:2] == [SECOND, FIRST] for item in chosen)
    assert made(real_clicks(torch.tensor([[SECOND, SECOND]]), Generator())) == [[]]


def test_start_interaction__share_of_real_clicks():
    interaction = start([FIRST], 0.5)
    real = torch.tensor([item == [FIRST] for item in made(interaction.clicks)])
    assert 0.4 < real.float().mean() < 0.6
    assert not interaction.previous[real].any(), "a session of a person starts without a mask"
    assert interaction.previous[~real].any()
    assert all(item == [FIRST] for item in made(start([FIRST], 1.0).clicks))


def test_start_interaction__items_without_real_clicks_are_simulated():
    clicks = torch.tensor([[[0.0, 0.0, 0.0]], [FIRST]]).repeat(BATCH // 2, 1, 1)
    config = TrainingConfig(real_clicks=1.0)
    chosen = start_interaction(replace(batch(), clicks=clicks), config, Generator().manual_seed(1)).clicks
    simulated = start(None, 0.0).clicks
    assert torch.equal(chosen[::2], simulated[::2])
    assert all(item == [FIRST] for item in made(chosen[1::2]))


def test_start_interaction__same_as_before_without_real_clicks():
    plain, shared, unused = start(None, 0.0), start(None, 0.5), start([FIRST], 0.0)
    for other in (shared, unused):
        assert torch.equal(plain.clicks, other.clicks) and torch.equal(plain.previous, other.previous)


def test_start_interaction__more_clicks_than_there_are_slots():
    interaction = start([SECOND] * 30 + [FIRST], 1.0)
    assert interaction.clicks.shape == start(None, 0.0).clicks.shape
    assert all(item[:1] != [SECOND] for item in made(interaction.clicks)), "its positive click comes too late"
    assert all(set(map(tuple, item)) == {tuple(FIRST)} for item in made(start([FIRST] * 30, 1.0).clicks))


def test_start_interaction__share_of_external_masks():
    assert not start(None, 0.0, external_masks=0.0).previous.any()
    masks = start(None, 0.0, external_masks=0.5).previous.flatten(1).any(dim=1)
    assert 0.4 < masks.float().mean() < 0.6


def test_start_interaction__share_of_single_clicks():
    shares = {0.0: (0.0, 0.2), 0.5: (0.45, 0.75), 1.0: (1.0, 1.0)}
    for share, (least, most) in shares.items():
        clicks = made(start(None, 0.0, external_masks=0.0, one_click=share).clicks)
        # random clicks may be one alone, too
        assert least <= sum(len(item) == 1 for item in clicks) / BATCH <= most


def test_draw_rounds__as_often_as_told():
    generator = Generator().manual_seed(1)
    config = TrainingConfig(rounds=(0.25, 0.0, 0.75))
    drawn = [draw_rounds(config, generator) for _ in range(400)]
    assert set(drawn) == {0, 2}
    assert 0.7 < drawn.count(2) / 400 < 0.8
