import pytest
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from maskloop import simulation
from maskloop.distance import squared_distance
from maskloop.simulation import corrective_click, dilate, external_masks, first_clicks, random_clicks

TARGET = torch.zeros(3, 48, 64, dtype=torch.long)
TARGET[:, 10:34, 20:44] = 1
TARGET[:, :, 60:] = -1
OTHERS = torch.zeros(3, 48, 64, dtype=torch.bool)
OTHERS[:, 36:46, 4:16] = True


@pytest.fixture
def generator() -> Generator:
    return Generator().manual_seed(3)


def under(clicks: Tensor, plane: Tensor) -> Tensor:
    return torch.stack(
        [plane[b, points[:, 0].long(), points[:, 1].long()] for b, points in enumerate(clicks)]
    )


def test_first_clicks__deep_inside(generator: Generator) -> None:
    clicks = first_clicks(TARGET, generator)
    assert clicks.shape == (3, 1, 3)
    assert (clicks[..., 2] == 1).all()
    assert ((clicks[..., 0] - 21.5).abs() < 6).all()
    assert ((clicks[..., 1] - 31.5).abs() < 6).all()


def test_random_clicks__signs_match_the_target(generator: Generator) -> None:
    for _ in range(20):
        clicks = random_clicks(TARGET, OTHERS, generator)
        target = under(clicks, TARGET)
        assert (target[clicks[..., 2] == 1] == 1).all()
        assert (target[clicks[..., 2] == -1] == 0).all()
        assert ((clicks[..., 2] == 1).sum(dim=1) >= 1).all()


def test_corrective_click__missed_and_wrong(generator: Generator) -> None:
    probability = torch.zeros(3, 1, 48, 64)
    probability[1, 0] = (TARGET[1] == 1).float()
    probability[1, 0, 36:46, 4:16] = 1
    probability[2, 0] = (TARGET[2] == 1).float()
    probability[2, 0, :, 60:] = 1  # wrong only where nothing counts
    clicks = corrective_click(probability, TARGET, torch.zeros(3, 0, 3), generator)
    assert clicks[:, 0, 2].tolist() == [1, -1, 0]
    assert 36 <= clicks[1, 0, 0] < 46


def test_corrective_click__keeps_the_clicks_before(generator: Generator) -> None:
    before = first_clicks(TARGET, generator)
    after = corrective_click(torch.zeros(3, 1, 48, 64), TARGET, before, generator)
    assert torch.equal(after[:, :1], before)


def test_external_masks__differ_from_the_target_but_know_it(generator: Generator) -> None:
    seen = set()
    for _ in range(30):
        masks = external_masks(TARGET, OTHERS, generator)[:, 0] > 0
        for mask in masks:
            overlap = int((mask & (TARGET[0] == 1)).sum())
            seen.add(int(mask.sum()))
            assert overlap > 0.2 * 24 * 24
    assert len(seen) > 10


def test_same_seed_same_clicks() -> None:
    one = random_clicks(TARGET, OTHERS, Generator().manual_seed(5))
    assert torch.equal(one, random_clicks(TARGET, OTHERS, Generator().manual_seed(5)))


def test_dilate__square() -> None:
    mask = torch.zeros(7, 7, dtype=torch.bool)
    mask[3, 3] = True
    assert dilate(mask, 2).sum() == 25


@pytest.mark.parametrize("radius", [0, 1, 5, 40])
def test_dilate__as_max_pooling(radius: int, generator: Generator) -> None:
    masks = torch.rand(2, 30, 21, generator=generator) > 0.99
    # padded by hand: max pooling pads by no more than half of its window
    padded = F.pad(masks.float(), [radius] * 4)
    assert torch.equal(dilate(masks, radius), F.max_pool2d(padded, 2 * radius + 1, stride=1) > 0)


def test_depth__as_the_transform_of_the_whole(generator: Generator) -> None:
    region = torch.rand(2, 3, 20, 30, generator=generator) > 0.2
    region[0, 0] = False
    region[0, 1] = True
    region[1, 2, :, 10:] = False
    assert torch.equal(simulation._depth(region), squared_distance(region))


def test_random_clicks__positive_ones_keep_off_the_border(generator: Generator) -> None:
    for _ in range(10):
        clicks = random_clicks(TARGET, OTHERS, generator)
        rows, cols, signs = clicks.unbind(-1)
        positive = signs == 1
        assert ((rows[positive] >= 13) & (rows[positive] < 31)).all()
        assert ((cols[positive] >= 23) & (cols[positive] < 41)).all()


def test_random_clicks__many_negative_ones_on_others(generator: Generator) -> None:
    """4 of 10 are on other objects, though these are a twentieth of what is not the object."""
    on_others = total = 0
    for _ in range(60):
        clicks = random_clicks(TARGET, OTHERS, generator)
        negative = clicks[..., 2] == -1
        on_others += int((under(clicks, OTHERS.long()).bool() & negative).sum())
        total += int(negative.sum())
    assert 0.3 < on_others / total < 0.55
