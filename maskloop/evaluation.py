"""Evaluation by clicks: a simulated annotator labels every object, and what a segmenter answers is measured.

Several objects advance together: each click of all of them is one batch, and when an object is done the next
takes its place. Clicks and answers are those of one object at a time.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Protocol, cast, runtime_checkable

import numpy as np
from tqdm import tqdm

from maskloop.annotators import Annotator, CentreAnnotator
from maskloop.arrays import Image, Plane
from maskloop.clicks import Click
from maskloop.datasets import Sample
from maskloop.errors import DatasetError, EvaluationError
from maskloop.masks import encode_coco
from maskloop.metrics import boundary_iou, intersection_over_union
from maskloop.predictor import Prediction, PreparedImage, Request
from maskloop.results import MAX_CLICKS, ObjectResult, Report

__all__ = [
    "MAX_CLICKS",
    "BatchSegmenter",
    "ObjectResult",
    "Report",
    "Segmenter",
    "evaluate",
    "intersection_over_union",
    "label",
    "prepared",
]

KEPT_MASKS = (1, 5)
"""Numbers of clicks whose masks a result keeps, beside the last."""


class Segmenter(Protocol):
    """Whatever answers clicks with a mask."""

    def predict(self, image: Image, clicks: Sequence[Click], previous: Plane | None = None) -> Prediction:
        """Image (H, W, 3) uint8, clicks so far, previous probability (H, W)."""
        ...


@runtime_checkable
class PreparingSegmenter(Protocol):
    """A segmenter that does once for an image what each click on it would do again."""

    def prepare(self, image: Image) -> PreparedImage:
        """Image (H, W, 3) uint8 to what it takes in its place."""
        ...


@runtime_checkable
class BatchSegmenter(Protocol):
    """A segmenter that answers many requests at once, each as if it came alone."""

    def predict_batch(self, requests: Sequence[Request]) -> list[Prediction]:
        """One prediction a request, in their order; images may differ in size."""
        ...


def prepared(segmenter: object, image: Image) -> Image | PreparedImage:
    """An image as a segmenter likes it best for several requests."""
    return segmenter.prepare(image) if isinstance(segmenter, PreparingSegmenter) else image


def evaluate(
    segmenter: Segmenter,
    samples: Sequence[Sample],
    max_clicks: int = MAX_CLICKS,
    progress: bool = True,
    annotator: Annotator | None = None,
    batch: int = 1,
    stop: float | None = None,
    dataset: str = "",
) -> Report:
    """Let a simulated annotator label every sample.

    Args:
        segmenter: what is measured; the report names it by its attribute `version`, or by its class.
        samples: images with the masks wanted.
        max_clicks: clicks an object; without `stop` all are made, so that the curve has every point.
        progress: show a progress bar.
        annotator: who clicks; `CentreAnnotator` without one.
        batch: objects that advance together, if the segmenter has `predict_batch`.
        stop: IoU at which an object is done, for runs that only count clicks up to it.
        dataset: name of the samples for the report.

    Raises:
        DatasetError: there are no samples, or one of them cannot be read.
        EvaluationError: no clicks are to be made.
    """
    if not len(samples):
        raise DatasetError("there is no sample to evaluate on; check the dataset's folder, split and limit")
    if min(max_clicks, batch) < 1:
        raise EvaluationError(
            f"{max_clicks} clicks on {batch} objects at a time measure nothing; give 1 or more"
        )
    annotator = annotator or CentreAnnotator()
    results: dict[int, ObjectResult] = {}
    with tqdm(total=len(samples), disable=not progress, unit="object", mininterval=2) as bar:
        for session in _label_all(segmenter, samples, max_clicks, annotator, batch, stop):
            results[session.index] = session.result()
            bar.update()
    return Report(
        model=getattr(segmenter, "version", type(segmenter).__name__),
        dataset=dataset,
        annotator=annotator.describe(),
        objects=tuple(results[index] for index in range(len(samples))),
        max_clicks=max_clicks,
        stop=stop,
    )


def label(segmenter: Segmenter, sample: Sample, max_clicks: int = MAX_CLICKS) -> ObjectResult:
    """One click session of the ideal annotator on one object."""
    (session,) = _label_all(segmenter, [sample], max_clicks, CentreAnnotator(), 1, None)
    return session.result()


class _Session:
    """The clicks on one object, and what came of them."""

    def __init__(
        self, index: int, sample: Sample, segmenter: Segmenter, max_clicks: int, stop: float | None
    ) -> None:
        self.index = index
        self._sample = sample
        started = time.perf_counter()
        self._image = prepared(segmenter, sample.image)
        self._preparing = time.perf_counter() - started
        self._max_clicks = max_clicks
        self._stop = stop
        self._clicks: list[Click] = []
        self._previous: Plane | None = None
        self._mask = np.zeros_like(sample.mask)
        self._ious: list[float] = []
        self._seconds: list[float] = []
        self._masks: dict[int, str] = {}

    def ask(self, annotator: Annotator) -> Request | None:
        """Click once more; None when the object is done."""
        solved = self._stop is not None and bool(self._ious) and self._ious[-1] >= self._stop
        if solved or len(self._clicks) == self._max_clicks:
            return None
        click = annotator.click(self._mask, self._sample, self._clicks)
        if click is None:
            return None
        self._clicks.append(click)
        return Request(self._image, tuple(self._clicks), self._previous)

    def answer(self, prediction: Prediction, seconds: float) -> None:
        """Take what the segmenter made of the clicks."""
        self._previous, self._mask = prediction.probability, prediction.mask
        self._seconds.append(seconds + self._preparing)
        self._preparing = 0.0  # the first click waited for it
        self._ious.append(self._iou())
        if len(self._clicks) in KEPT_MASKS:
            self._masks[len(self._clicks)] = encode_coco(self._mask)["counts"]

    def result(self) -> ObjectResult:
        """The object's result, once it is done."""
        sample = self._sample
        not_made = self._max_clicks - len(self._clicks)
        return ObjectResult(
            image_id=sample.image_id,
            category=sample.category,
            source=sample.source,
            height=sample.mask.shape[0],
            width=sample.mask.shape[1],
            area=int(sample.mask.sum()),
            ious=(*self._ious, *[self._iou()] * not_made),
            seconds=tuple(self._seconds),
            clicks=tuple(self._clicks),
            boundary_iou=boundary_iou(self._mask, sample.mask, sample.ignore),
            masks={**self._masks, len(self._clicks): encode_coco(self._mask)["counts"]},
        )

    def _iou(self) -> float:
        return intersection_over_union(self._mask, self._sample.mask, self._sample.ignore)


def _label_all(
    segmenter: Segmenter,
    samples: Sequence[Sample],
    max_clicks: int,
    annotator: Annotator,
    batch: int,
    stop: float | None,
) -> Iterator[_Session]:
    """Sessions in the order in which they are done."""
    waiting = (_Session(index, samples[index], segmenter, max_clicks, stop) for index in range(len(samples)))
    running: list[_Session] = []
    while True:
        asked: list[tuple[_Session, Request]] = []
        while len(asked) < batch:
            session = running.pop(0) if running else next(waiting, None)
            if session is None:
                break
            request = session.ask(annotator)
            if request is None:
                yield session
            else:
                asked.append((session, request))
        if not asked:
            return
        answers = _predict(segmenter, [request for _, request in asked], batched=batch > 1)
        for (session, _), (prediction, seconds) in zip(asked, answers, strict=True):
            session.answer(prediction, seconds)
        running = [session for session, _ in asked]


def _predict(
    segmenter: Segmenter, requests: Sequence[Request], batched: bool
) -> list[tuple[Prediction, float]]:
    """The predictions, and the seconds of each; those of a batch are shared equally."""
    if batched and isinstance(segmenter, BatchSegmenter):
        started = time.perf_counter()
        predictions = segmenter.predict_batch(requests)
        share = (time.perf_counter() - started) / len(requests)
        return [(prediction, share) for prediction in predictions]
    answers = []
    for request in requests:
        started = time.perf_counter()
        prediction = segmenter.predict(cast(Image, request.image), request.clicks, request.plane)
        answers.append((prediction, time.perf_counter() - started))
    return answers
