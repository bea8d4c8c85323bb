import pytest
import torch
from torch import nn

from maskloop.errors import TrainingError
from maskloop.training.blending import blend


def network(weight, count):
    """One linear layer of one weight, and a batch norm that has seen `count` batches."""
    made = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    made[0].weight.data.fill_(weight)
    made[1].running_mean.fill_(weight)
    made[1].num_batches_tracked.fill_(count)
    return made


@pytest.mark.parametrize(("share", "weight"), [(0.25, 3.0), (1.0, 6.0)])
def test_blend__weights_and_statistics(share, weight):
    tuned, start = network(6.0, 9), network(2.0, 4)
    blend(tuned, start, share)
    assert tuned[0].weight.item() == tuned[1].running_mean.item() == weight
    assert tuned[1].num_batches_tracked.item() == 9, "a count is no weight"
    assert start[0].weight.item() == 2.0


@pytest.mark.parametrize("share", [0, -0.1, 1.1])
def test_blend__no_share(share):
    with pytest.raises(TrainingError, match="blend is"):
        blend(network(1.0, 0), network(1.0, 0), share)


def test_blend__other_network():
    with pytest.raises(TrainingError, match="tuned from"):
        blend(network(1.0, 0), nn.Sequential(nn.Linear(2, 1)), 0.5)


def test_blend__half_way_stays_a_network():
    torch.manual_seed(0)
    tuned, start = nn.Linear(3, 2), nn.Linear(3, 2)
    middle = (tuned.weight + start.weight) / 2
    blend(tuned, start, 0.5)
    assert torch.allclose(tuned.weight, middle)
