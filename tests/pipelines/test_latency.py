"""Latency of models that take as long as they are told to."""

import time

import numpy as np
import pytest

from maskloop.datasets import Sample
from maskloop.predictor import Prediction
from pipelines.errors import SnapshotError
from pipelines.promotion.latency import Latency, measure_latency

TARGET = np.zeros((40, 40), bool)
TARGET[5:30, 5:30] = True
SAMPLES = [Sample(name, np.zeros((40, 40, 3), np.uint8), TARGET, None, "thing") for name in "ab"]


class Sleeper:
    """Finds nothing, slowly; notes when it was asked."""

    def __init__(self, name, seconds, asked):
        self.name, self.seconds, self.asked = name, seconds, asked

    def warm_up(self):
        self.asked.append((self.name, "warm"))

    def prepare(self, image):
        return image

    def predict(self, image, clicks, previous=None):
        self.asked.append((self.name, len(clicks)))
        time.sleep(self.seconds)
        return Prediction(np.zeros(image.shape[:2], np.float32))


def test_measure_latency__in_turn_on_the_same_clicks():
    asked = []
    found = measure_latency(Sleeper("new", 0.02, asked), Sleeper("old", 0.01, asked), SAMPLES, 6)
    assert asked[:2] == [("new", "warm"), ("old", "warm")]
    assert asked[2:8] == [("old", 1), ("new", 1), ("new", 2), ("old", 2), ("old", 3), ("new", 3)]
    assert asked[8:10] == [("new", 1), ("old", 1)], "whoever was first is second on the next object"
    assert found.clicks == 6
    assert found.ratio == pytest.approx(2, rel=0.5)
    assert found.challenger >= 20
    assert 10 <= found.champion < found.challenger


def test_latency__written_and_read(tmp_path):
    latency = Latency(challenger=60.0, champion=50.0, ratio=1.2, clicks=9)
    latency.write(tmp_path / "latency.json")
    assert Latency.read(tmp_path / "latency.json") == latency


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"ratio": 1}'])
def test_latency__damaged(text, tmp_path):
    (tmp_path / "latency.json").write_text(text)
    with pytest.raises(SnapshotError, match="dvc repro evaluate"):
        Latency.read(tmp_path / "latency.json")
