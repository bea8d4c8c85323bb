"""The network that clicks only prompt, with random weights; with the published ones: `tests/rivals`."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from maskloop.errors import CheckpointError
from maskloop.model.prompted import PromptedViT

HEIGHT, WIDTH = 96, 160


@pytest.fixture(scope="module")
def network() -> PromptedViT:
    torch.manual_seed(0)
    return PromptedViT().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def features(network: PromptedViT) -> Tensor:
    return network.encode(images(2))


def images(batch: int) -> Tensor:
    return torch.rand(batch, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))


def masks(batch: int) -> Tensor:
    return torch.rand(batch, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(2))


CLICKS = torch.tensor([[[20.0, 30, 1], [70, 140, -1]], [[50, 80, 1], [0, 0, 0]]])


def test_shapes(network: PromptedViT, features: Tensor) -> None:
    assert features.shape == (2, 256, 6, 10)
    assert network.decode(features, masks(2), CLICKS).shape == (2, 1, 24, 40)
    assert network(images(2), masks(2), CLICKS).shape == (2, 1, HEIGHT, WIDTH)


def test_decode__each_as_if_alone(network: PromptedViT, features: Tensor) -> None:
    previous = masks(2)
    previous[1] = 0  # an item without a mask, with a single click, beside one with both
    together = network.decode(features, previous, CLICKS)
    for item, slots in ((0, 2), (1, 1)):
        alone = network.decode(features[[item]], previous[[item]], CLICKS[[item], :slots])
        torch.testing.assert_close(together[[item]], alone, atol=1e-5, rtol=1e-5)


def test_decode__empty_slots_and_clicks_outside_count_for_nothing(
    network: PromptedViT, features: Tensor
) -> None:
    previous = masks(2)
    others = torch.tensor([[40.0, 40, 0], [-3, 20, 1], [20, WIDTH + 4, -1]]).expand(2, -1, -1)
    plain = network.decode(features, previous, CLICKS)
    torch.testing.assert_close(
        network.decode(features, previous, torch.cat([others, CLICKS], dim=1)), plain, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda clicks, previous: (clicks * torch.tensor([1, 1, -1]), previous),
        lambda clicks, previous: (clicks + torch.tensor([9, 0, 0]), previous),
        lambda clicks, previous: (clicks, 1 - previous),
        lambda clicks, previous: (clicks, torch.zeros_like(previous)),
    ],
    ids=["signs", "places", "mask", "no mask"],
)
def test_decode__what_is_said_counts(network: PromptedViT, features: Tensor, change: object) -> None:
    clicks, previous = CLICKS[:1], masks(1)
    plain = network.decode(features[:1], previous, clicks)
    changed = network.decode(features[:1], *reversed(change(clicks, previous)))  # type: ignore[operator]
    assert (changed - plain).abs().max() > 1e-3


def test_decode__a_single_click_gets_the_best_of_three(network: PromptedViT, features: Tensor) -> None:
    seen = {}

    def note(_: object, __: object, results: tuple[Tensor, Tensor]) -> None:
        seen["masks"], seen["scores"] = results

    handle = network.mask_decoder.register_forward_hook(note)
    nothing = torch.zeros(1, 1, HEIGHT, WIDTH)
    try:
        for clicks, previous, one_of in (
            (CLICKS[1:], nothing, slice(1, 4)),
            (CLICKS[:1], nothing, slice(0, 1)),  # two clicks say more than one
            (CLICKS[1:], masks(1), slice(0, 1)),  # so does a mask
        ):
            answer = network.decode(features[1:], previous, clicks)
            best = one_of.start + int(seen["scores"][0, one_of].argmax())
            torch.testing.assert_close(answer[0, 0], seen["masks"][0, best])
    finally:
        handle.remove()


def test_load_published__of_another_network(tmp_path: Path) -> None:
    torch.save({"image_encoder.neck.0.weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"other.pt does not hold MobileSAM: .* use mobile_sam.pt"):
        PromptedViT().load_published(tmp_path / "other.pt")
