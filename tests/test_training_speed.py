"""The speed benchmark compares like with like."""

import pytest
import torch

from benchmarks.training_speed import as_before, measure, table
from maskloop.model import CSFPN, ModelConfig
from maskloop.training import TrainingConfig
from maskloop.views import Scene


class Squares:
    def __len__(self):
        return 1

    def draw(self, generator):
        masks = torch.zeros(1, 80, 90, dtype=torch.bool)
        masks[:, 20:60, 20:60] = True
        return Scene((masks * 200).expand(3, -1, -1).to(torch.uint8), masks)


def small_model():
    torch.manual_seed(1)
    model = CSFPN(ModelConfig(channels=12, hires_channels=8, heads=2)).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            torch.nn.init.constant_(parameter, 0.5)  # at zero there is no message to compare
    return model


def test_as_before__same_answers():
    model = small_model()
    clicks = torch.tensor([[[30.0, 30.0, 1.0], [3.0, 50.0, -1.0], [0.0, 0.0, 0.0]]])
    arguments = torch.rand(1, 3, 64, 64), torch.zeros(1, 1, 64, 64), clicks
    with torch.no_grad():
        now = model(*arguments).mask
        with as_before():
            torch.testing.assert_close(model(*arguments).mask, now)
            model.sgn.heads[0].gamma += 1
            assert not torch.allclose(model(*arguments).mask, now)


def test_measure__same_steps_in_all_ways():
    config = TrainingConfig(steps=3, batch=2, size=64, rounds=(0.0, 1.0), warmup=1)
    ways = measure(small_model(), Squares(), config, 2, "cpu")
    assert [way.name for way in ways] == ["float32, before", "float32", "bfloat16, before", "bfloat16"]
    assert {way.run.step for way in ways} == {3}
    assert len({way.predictions for way in ways}) == 1
    assert 2 <= ways[0].predictions <= 4, "a round a step, and sometimes one more prediction"
    assert len({way.run.clock.seconds["draw"] for way in ways}) == 1
    lines = table(ways, 2, {"float32": 1e9, "bfloat16": 1e9}).splitlines()
    assert [line.split()[0].strip(",") for line in lines] == [
        "samples/s",
        *["float32"] * 2,
        *["bfloat16"] * 2,
        "peak:",
    ]


def test_table__figures_by_hand():
    config = TrainingConfig(steps=3, batch=2, size=64, rounds=(1.0,), warmup=1)
    way = measure(small_model(), Squares(), config, 1, "cpu")[1]
    way.run.clock.seconds.clear()
    way.run.clock.seconds |= dict.fromkeys(("draw", "augment", "clicks", "gradient", "optimiser"), 0.1)
    way.predictions, way.operations = 2, 1e8
    cells = table([way], 4, {"float32": 4e9}).splitlines()[1].split()
    assert float(cells[1]) == pytest.approx(4 * 2 / 0.5)
    assert cells[2:8] == ["25.0"] * 5 + ["0.0"]
    assert (cells[8], cells[9]) == ("2.8", "70.0%")  # 14 forward passes in half a second
