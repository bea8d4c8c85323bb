"""Evaluation with segmenters whose answers are known beforehand."""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from maskloop.annotators import Annotator, CentreAnnotator, NoisyAnnotator, RealisticAnnotator
from maskloop.clicks import Click, next_click
from maskloop.crops import full_region
from maskloop.datasets import Sample
from maskloop.errors import DatasetError, EvaluationError
from maskloop.evaluation import ObjectResult, Report, evaluate, label
from maskloop.predictor import Prediction, PreparedImage, Request

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


class Preparing(Growing):
    """Takes a while to prepare an image, and wants no other."""

    def __init__(self) -> None:
        self.prepared: list[np.ndarray] = []

    def prepare(self, image: np.ndarray) -> PreparedImage:
        self.prepared.append(image)
        time.sleep(0.2)
        return PreparedImage(image, torch.zeros(1, 3, 32, 32), full_region(40, 40, 32))

    def predict(
        self, image: PreparedImage, clicks: Sequence[Click], previous: np.ndarray | None = None
    ) -> Prediction:
        assert isinstance(image, PreparedImage)
        return super().predict(image.image, clicks, previous)


def test_evaluate__image_is_prepared_once_and_the_first_click_waits_for_it() -> None:
    segmenter = Preparing()
    report = evaluate(segmenter, [sample(), sample()], 5, progress=False)
    assert len(segmenter.prepared) == 2
    for result in report.objects:
        assert result.seconds[0] > 0.2 > max(result.seconds[1:])


def test_evaluate__ignored_pixels() -> None:
    ignore = np.zeros_like(TARGET)
    ignore[20:30] = True  # the lower half of the object does not count: 18 clicks' rows are 9 of 10
    report = evaluate(Growing(), [sample(ignore)], max_clicks=9, progress=False)
    assert report.objects[0].ious[-1] == pytest.approx(0.9)


def test_evaluate__nothing_to_evaluate() -> None:
    with pytest.raises(DatasetError, match="no sample"):
        evaluate(Growing(), [])


def test_evaluate__report_says_what_was_measured() -> None:
    segmenter = Growing()
    segmenter.version = "growing-1"
    report = evaluate(
        segmenter, [sample()], 7, progress=False, annotator=NoisyAnnotator(3, seed=5), dataset="squares"
    )
    assert (report.model, report.dataset, report.max_clicks) == ("growing-1", "squares", 7)
    assert report.annotator == {"name": "noisy", "pixels": 3, "seed": 5}
    assert evaluate(Growing(), [sample()], 1, progress=False).model == "Growing"


def test_evaluate__object() -> None:
    (item,) = evaluate(Growing(), [sample()], 7, progress=False).objects
    assert (item.image_id, item.category, item.height, item.width, item.area) == ("a", "thing", 40, 40, 400)
    assert len(item.seconds) == len(item.clicks) == len(item.ious) == 7
    assert item.clicks[0] == next_click(np.zeros_like(TARGET), TARGET)
    assert {number: int(item.mask(number).sum()) for number in item.masks} == {1: 20, 5: 100, 7: 140}
    # 7 of 20 rows of 20 columns; a one-pixel ring of either: 50 and 76 pixels, with the upper side (20) and
    # 6 pixels of each of two columns in common
    assert item.boundary_iou == 32 / (50 + 76 - 32)


def test_evaluate__perfect_answer_needs_one_click() -> None:
    report = evaluate(Perfect(), [sample(), sample()], progress=False)
    assert (len(report.objects), report.noc(0.95), report.iou_at_click()) == (2, 1, [1.0] * 20)
    assert [len(item.seconds) for item in report.objects] == [1, 1]
    assert (report.objects[0].mask(20) == TARGET).all()


def test_evaluate__nothing_to_click_on() -> None:
    (item,) = evaluate(Perfect(), [sample(ignore=TARGET)], 3, progress=False).objects
    assert (item.ious, item.clicks, item.boundary_iou) == ((1.0,) * 3, (), 1.0)
    assert not item.mask(20).any()


def test_evaluate__early_stop() -> None:
    report = evaluate(Growing(), [sample()], progress=False, stop=0.85)
    (item,) = report.objects
    assert (len(item.clicks), item.ious[16:], report.stop) == (17, (0.85,) * 4, 0.85)
    assert report.noc(0.85) == 17


@pytest.mark.parametrize("max_clicks, batch", [(0, 1), (20, 0)])
def test_evaluate__no_clicks(max_clicks: int, batch: int) -> None:
    with pytest.raises(EvaluationError, match=f"{max_clicks} clicks on {batch} objects"):
        evaluate(Growing(), [sample()], max_clicks, batch=batch)


class Blobs:
    """Answers that depend on everything given: bumps at the clicks, the image, and the mask before."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def predict(
        self, image: np.ndarray, clicks: Sequence[Click], previous: np.ndarray | None = None
    ) -> Prediction:
        rows, cols = np.mgrid[: image.shape[0], : image.shape[1]]
        field = image[..., 0] / 255 if previous is None else image[..., 0] / 255 + 0.4 * previous
        for click in clicks:
            bump = np.exp(-((rows - click.row) ** 2 + (cols - click.col) ** 2) / 60)
            field = field + (bump if click.positive else -bump)
        return Prediction(field.clip(0, 1).astype(np.float32))


class BatchBlobs(Blobs):
    def predict_batch(self, requests: Sequence[Request]) -> list[Prediction]:
        self.batches.append(len(requests))
        return [self.predict(one.image, one.clicks, one.previous) for one in requests]


def shapes(count: int) -> list[Sample]:
    """Ellipses in images of different sizes, a little brighter than what is around them."""
    generator = np.random.default_rng(0)
    samples = []
    for number in range(count):
        height, width = generator.integers(24, 60, 2)
        rows, cols = np.mgrid[:height, :width]
        half = generator.uniform(0.1, 0.45, 2) * (height, width)
        mask = ((rows - height / 2) / half[0]) ** 2 + ((cols - width / 2) / half[1]) ** 2 < 1
        image = generator.integers(0, 90, (height, width, 3)) + 60 * mask[..., None]
        samples.append(Sample(str(number), image.astype(np.uint8), mask, None, ""))
    return samples


def untimed(report: Report) -> list[ObjectResult]:
    return [replace(item, seconds=()) for item in report.objects]


@pytest.mark.parametrize("annotator", [CentreAnnotator(), NoisyAnnotator(2), RealisticAnnotator()])
@pytest.mark.parametrize("stop", [None, 0.8])
def test_evaluate__batch_equals_one_at_a_time(annotator: Annotator, stop: float | None) -> None:
    samples = shapes(9)
    alone = evaluate(Blobs(), samples, 8, False, annotator, stop=stop)
    for batch in (2, 4, 16):
        together = evaluate(BatchBlobs(), samples, 8, False, annotator, batch, stop)
        assert untimed(together) == untimed(alone)
    assert len({item.ious for item in alone.objects}) == 9


def test_evaluate__batches_stay_full() -> None:
    segmenter = BatchBlobs()
    report = evaluate(segmenter, shapes(9), 8, False, batch=4, stop=0.8)
    lengths = [len(item.clicks) for item in report.objects]
    assert len(set(lengths)) > 1, "all objects end together, which would show nothing"
    assert sum(segmenter.batches) == sum(lengths)
    # smaller only when no object waits any more
    assert segmenter.batches == sorted(segmenter.batches, reverse=True)
    assert segmenter.batches[0] == 4


def test_evaluate__batch_of_a_segmenter_without_batches() -> None:
    assert untimed(evaluate(Blobs(), shapes(3), 4, False, batch=2)) == untimed(
        evaluate(Blobs(), shapes(3), 4, False)
    )


def test_evaluate__seconds_of_a_batch_are_shared() -> None:
    class Slow(BatchBlobs):
        def predict_batch(self, requests: Sequence[Request]) -> list[Prediction]:
            time.sleep(0.04)
            return super().predict_batch(requests)

    report = evaluate(Slow(), shapes(4), 2, False, batch=4)
    assert 0.01 <= report.seconds_per_click() < 0.04


def test_label__is_one_object_of_evaluate() -> None:
    (shape,) = shapes(1)
    assert replace(label(Blobs(), shape, 5), seconds=()) == untimed(evaluate(Blobs(), [shape], 5, False))[0]
