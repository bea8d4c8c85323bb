"""Evaluation with segmenters whose answers are known beforehand."""

from collections.abc import Sequence

import numpy as np
import pytest

from maskloop.clicks import Click
from maskloop.datasets import Sample
from maskloop.errors import DatasetError
from maskloop.evaluation import evaluate, intersection_over_union
from maskloop.predictor import Prediction

TARGET = np.zeros((40, 40), bool)
TARGET[10:30, 10:30] = True


class Growing:
    """Covers one more twentieth of the object with each click: IoU is clicks / 20."""

    def predict(
        self, image: np.ndarray, clicks: Sequence[Click], previous: np.ndarray | None = None
    ) -> Prediction:
        probability = np.zeros(TARGET.shape, np.float32)
        probability[10 : 10 + len(clicks), 10:30] = 1
        return Prediction(probability)


class Perfect:
    def predict(
        self, image: np.ndarray, clicks: Sequence[Click], previous: np.ndarray | None = None
    ) -> Prediction:
        assert len(clicks) == 1, "a perfect mask needs no second click"
        return Prediction(TARGET.astype(np.float32))


def sample(ignore: np.ndarray | None = None) -> Sample:
    return Sample("a", np.zeros((40, 40, 3), np.uint8), TARGET, ignore, "thing")


def test_evaluate__number_of_clicks() -> None:
    figures = evaluate(Growing(), [sample()], progress=False).to_dict()
    assert (figures["noc85"], figures["noc90"], figures["noc95"]) == (17, 18, 19)
    assert figures["nof90"] == 0
    assert figures["iou_at_click"] == pytest.approx([number / 20 for number in range(1, 21)])


def test_evaluate__perfect_answer_needs_one_click() -> None:
    figures = evaluate(Perfect(), [sample(), sample()], progress=False).to_dict()
    assert (figures["objects"], figures["noc95"], figures["iou_at_click"]) == (2, 1, [1.0] * 20)


def test_evaluate__ignored_pixels() -> None:
    ignore = np.zeros_like(TARGET)
    ignore[20:30] = True  # the lower half of the object does not count: 18 clicks' rows are 9 of 10
    report = evaluate(Growing(), [sample(ignore)], max_clicks=9, progress=False)
    assert report.objects[0].ious[-1] == pytest.approx(0.9)


def test_evaluate__nothing_to_evaluate() -> None:
    with pytest.raises(DatasetError, match="no sample"):
        evaluate(Growing(), [])


def test_intersection_over_union__both_empty() -> None:
    assert intersection_over_union(np.zeros((2, 2), bool), np.zeros((2, 2), bool)) == 1.0
