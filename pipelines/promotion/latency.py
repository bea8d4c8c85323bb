"""Latency: how long a click takes with either of two models, measured in turn on the same clicks.

Both are timed within the same moments, so that whatever else the machine does slows both alike, and the ratio
stays true where the milliseconds do not.
"""

import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from maskloop.annotators import CentreAnnotator
from maskloop.clicks import Click
from maskloop.datasets import Sample
from maskloop.predictor import Prediction, Predictor, PreparedImage
from pipelines.errors import SnapshotError

CLICKS_AN_OBJECT = 3
"""The first is of an empty mask, the others correct one, as a person's do."""


@dataclass(frozen=True)
class Latency:
    """Median milliseconds of a click, the median ratio of two timed one after the other, and how many."""

    challenger: float
    champion: float
    ratio: float
    clicks: int

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Latency":
        """Raises SnapshotError: there is no such file, or it holds something else."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError) as error:
            raise SnapshotError(f"{path} holds no latency ({error}): run 'dvc repro evaluate'.") from error


def measure_latency(
    challenger: Predictor, champion: Predictor, samples: Sequence[Sample], clicks: int
) -> Latency:
    """Time about so many clicks with either model, on objects in turn."""
    for predictor in (challenger, champion):
        predictor.warm_up()
    pairs = [
        pair
        for turn in range(-(-clicks // CLICKS_AN_OBJECT))
        for pair in _timed(challenger, champion, samples[turn % len(samples)], turn)
    ]
    ours, theirs = zip(*pairs, strict=True)
    return Latency(
        challenger=1000 * statistics.median(ours),
        champion=1000 * statistics.median(theirs),
        ratio=statistics.median(one / other for one, other in pairs),
        clicks=len(pairs),
    )


def _timed(
    challenger: Predictor, champion: Predictor, sample: Sample, turn: int
) -> Iterator[tuple[float, float]]:
    """Seconds of challenger and champion, a pair a click; it is the champion's mask that is corrected."""
    prepared = {predictor: predictor.prepare(sample.image) for predictor in (challenger, champion)}
    clicks: list[Click] = []
    answer: Prediction | None = None
    for number in range(CLICKS_AN_OBJECT):
        mask = np.zeros_like(sample.mask) if answer is None else answer.mask
        click = CentreAnnotator().click(mask, sample, clicks)
        if click is None:
            return
        clicks.append(click)
        # the second finds the caches warm, so they take turns
        order = (challenger, champion) if (turn + number) % 2 else (champion, challenger)
        timed = {predictor: _time(predictor, prepared[predictor], clicks, answer) for predictor in order}
        answer = timed[champion][1]
        yield timed[challenger][0], timed[champion][0]


def _time(
    predictor: Predictor, image: PreparedImage, clicks: Sequence[Click], previous: Prediction | None
) -> tuple[float, Prediction]:
    started = time.perf_counter()
    answer = predictor.predict(image, clicks, previous)
    return time.perf_counter() - started, answer
