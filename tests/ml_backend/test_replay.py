"""Serving keeps no session, and yet answers as the evaluation does, click by click."""

from pathlib import Path

import numpy as np
import pytest
import torch

from maskloop.checkpoint import save_checkpoint
from maskloop.clicks import Click
from maskloop.model import CSFPN, ModelConfig
from maskloop.predictor import Predictor
from ml_backend.replay import Replay, Session

IMAGE = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
CLICKS = [Click(20, 30), Click(50, 70, positive=False), Click(10, 40), Click(25, 35)]


class Counting(Predictor):
    """Counts what it is asked."""

    calls = 0

    def predict_batch(self, requests):
        self.calls += len(requests)
        return super().predict_batch(requests)


@pytest.fixture
def predictor(tmp_path: Path) -> Counting:
    torch.manual_seed(0)
    save_checkpoint(CSFPN(ModelConfig(channels=12, hires_channels=8)), tmp_path, "tiny", {})
    return Counting.load(tmp_path)


def offline(predictor: Predictor, clicks: list[Click], box=None) -> np.ndarray:
    """As `maskloop.evaluation` clicks: every answer is the previous mask of the next."""
    previous = None if box is None else predictor.predict(IMAGE, [], None, box)
    for count in range(1, len(clicks) + 1):
        previous = predictor.predict(IMAGE, clicks[:count], previous, box)
    return previous.probability


def answer(replay: Replay, predictor: Predictor, clicks, box=None, image=IMAGE, name="a") -> np.ndarray:
    session = Session(predictor.prepare(image), name, tuple(clicks), box)
    (replayed,) = replay.predict(predictor, [session])
    assert replayed.last.prediction is not None
    np.testing.assert_array_equal(replayed.last.runs.mask(), replayed.last.prediction.mask)
    return replayed.last.prediction.probability


def test_replay__equals_the_evaluation_click_by_click(predictor: Counting) -> None:
    replay = Replay()
    for count in range(1, 5):
        served = answer(replay, predictor, CLICKS[:count], None, IMAGE, "a")
        np.testing.assert_array_equal(served, offline(predictor, CLICKS[:count]))


def test_replay__a_cold_start_gives_the_same_answer(predictor: Counting) -> None:
    warm = Replay()
    for count in range(1, 5):
        last = answer(warm, predictor, CLICKS[:count], None, IMAGE, "a")
    cold = answer(Replay(), predictor, CLICKS, None, IMAGE, "a")
    np.testing.assert_array_equal(cold, last)


def test_replay__one_more_click_costs_one_prediction(predictor: Counting) -> None:
    replay = Replay()
    answer(replay, predictor, CLICKS[:3], None, IMAGE, "a")
    before = predictor.calls
    answer(replay, predictor, CLICKS, None, IMAGE, "a")
    assert predictor.calls == before + 1
    answer(replay, predictor, CLICKS, None, IMAGE, "a")
    assert predictor.calls == before + 1


def test_replay__box_then_clicks(predictor: Counting) -> None:
    box = (10, 10, 50, 60)
    replay = Replay()
    drawn = answer(replay, predictor, [], box, IMAGE, "a")
    np.testing.assert_array_equal(drawn, predictor.predict(IMAGE, [], None, box).probability)
    clicked = answer(replay, predictor, CLICKS[:1], box, IMAGE, "a")
    np.testing.assert_array_equal(clicked, offline(predictor, CLICKS[:1], box))


def test_replay__another_image_shares_nothing(predictor: Counting) -> None:
    replay = Replay()
    one = answer(replay, predictor, CLICKS[:1], None, IMAGE, "a")
    other = answer(replay, predictor, CLICKS[:1], None, IMAGE[::-1].copy(), "b")
    assert not np.array_equal(one, other)
