from dataclasses import replace

import pytest

from maskloop.model import CSFPN, ModelConfig
from maskloop.model.cost import measure_cost

SMALL = ModelConfig(channels=24, hires_channels=16)


PROMPTED = replace(SMALL, cascade="prompted", overview_side=96)


@pytest.mark.parametrize("config", [SMALL, PROMPTED], ids=["alone", "prompted"])
def test_measure_cost__parameters_add_up_to_the_network(config: ModelConfig) -> None:
    cost = measure_cost(config, 64, 96, repeats=0)
    assert cost.parameters == sum(parameter.numel() for parameter in CSFPN(config).parameters())


def test_measure_cost__look_at_a_larger_image_costs_more() -> None:
    looks = [
        {stage.name: stage for stage in measure_cost(config, 64, 96, repeats=1).stages}
        for config in (PROMPTED, replace(PROMPTED, overview_side=192))
    ]
    for name in ("look", "prompt"):
        assert looks[0][name].parameters == looks[1][name].parameters
        assert looks[1][name].macs > 1.5 * looks[0][name].macs
        assert looks[0][name].milliseconds > 0


def test_measure_cost__macs_by_hand() -> None:
    stages = {stage.name: stage.macs for stage in measure_cost(SMALL, 64, 96, repeats=0).stages}
    stem_pixels, cells = 32 * 48, 16 * 24
    assert stages["stem"] == stem_pixels * 3 * 9 * 32
    assert stages["auxiliary"] == cells * 24
    assert stages["click_embedding"] == 64 * 96 * 3 * 16 + stem_pixels * 16 * 9 * 32
    # depthwise 5x5, pointwise, and the 1x1 of the logit
    assert stages["head"] == stem_pixels * (16 * 25 + 16 * 16 + 16)


def test_measure_cost__stages_that_are_switched_off_are_left_out() -> None:
    cost = measure_cost(ModelConfig(channels=24, sgn=False, hires="none"), 64, 64, repeats=0)
    assert {"sgn", "hires"}.isdisjoint(stage.name for stage in cost.stages)


def test_measure_cost__bottleneck_is_a_fraction_of_the_papers_form() -> None:
    narrow = measure_cost(SMALL, 64, 64, repeats=0)
    paper = measure_cost(ModelConfig(channels=96, hires_channels=None), 64, 64, repeats=0)
    hires = [next(stage.macs for stage in cost.stages if stage.name == "hires") for cost in (narrow, paper)]
    assert hires[0] < hires[1] / 4


def test_measure_cost__times_the_stages() -> None:
    cost = measure_cost(SMALL, 64, 64, repeats=2)
    assert all(stage.milliseconds > 0 for stage in cost.stages)
    assert cost.milliseconds == pytest.approx(sum(stage.milliseconds for stage in cost.stages))
