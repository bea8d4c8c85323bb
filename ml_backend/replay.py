"""Replay of a click session: each click corrects the mask of the clicks before it, as in evaluation.

A request of Label Studio holds all clicks of a mask but not the masks between them. They are made again from
the clicks alone, so an answer depends on nothing but its request; the cache only spares what was made before.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np

from maskloop.arrays import Plane
from maskloop.clicks import Click
from maskloop.merging import merge_correction
from maskloop.predictor import Prediction, Predictor, PreparedImage, Request
from maskloop.runs import Runs
from ml_backend.cache import ArrayCache
from ml_backend.prompts import Box

CACHE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Session:
    """The clicks on one object.

    name: tells the image from others.
    clicks: in the order they were made.
    box: drawn before the clicks, or None.
    before: the mask that the clicks correct, or None for a new object; `before_name` tells it from others.
    """

    image: PreparedImage
    name: str
    clicks: tuple[Click, ...]
    box: Box | None = None
    before: Runs | None = None
    before_name: str = ""

    @property
    def prompts(self) -> int:
        """Clicks, and one for a box."""
        return len(self.clicks) + (self.box is not None)


@dataclass(frozen=True)
class Step:
    """The mask after some of the clicks. A correction has no prediction that its pixels could be made of."""

    runs: Runs
    score: float
    prediction: Prediction | None = None

    @property
    def nbytes(self) -> int:
        return self.runs.nbytes + (self.prediction.nbytes if self.prediction else 0)


@dataclass(frozen=True)
class Replayed:
    """The mask after all clicks, and the one before the last click where there was one."""

    last: Step
    earlier: Step | None


class Replay:
    """Predicts masks of click sessions. It is used by one thread, the one that owns the model."""

    def __init__(self, cache_bytes: int = CACHE_BYTES) -> None:
        self.cache: ArrayCache[Step] = ArrayCache(cache_bytes)

    def predict(self, predictor: Predictor, sessions: Sequence[Session]) -> list[Replayed]:
        """The masks of several sessions; what they ask of the network goes through it together."""
        runs = [_Run(self.cache, predictor.sha256, session) for session in sessions]
        while asking := [run for run in runs if run.advance()]:
            predictions = predictor.predict_batch([run.request() for run in asking])
            for run, prediction in zip(asking, predictions, strict=True):
                run.accept(prediction)
        return [run.replayed() for run in runs]


@dataclass
class _Run:
    """A session on its way through its clicks."""

    cache: ArrayCache[Step]
    model: str
    session: Session
    done: int = 0
    steps: dict[int, Step] = field(default_factory=dict)

    def __post_init__(self) -> None:
        session = self.session
        if session.before is not None:
            self.steps[0] = Step(session.before, 1.0)
        elif not session.clicks and session.box is None:
            raise ValueError("neither a click nor a box was given")
        # a box is answered before the first click, as it was when it was drawn
        self.done = 0 if session.before is not None or session.box is None else -1
        for count in range(len(session.clicks), self.done, -1):
            step = self.cache.get(self._key(count))
            if step is not None:
                self.steps[count], self.done = step, count
                break
        earlier = self.cache.get(self._key(self.done - 1)) if self.done > 1 else None
        if earlier is not None:
            self.steps[self.done - 1] = earlier

    def advance(self) -> bool:
        """Take the clicks that need no network; whether one is left that does."""
        while self.done < len(self.session.clicks):
            if not self._agrees():
                return True
            self._keep(self.steps[self.done])
        return False

    def request(self) -> Request:
        count = self.done + 1
        step = self.steps.get(self.done)
        previous: Prediction | Plane | None = None
        if step is not None:
            previous = step.prediction or step.runs.mask().astype(np.float32)
        return Request(self.session.image, self.session.clicks[:count], previous, self.session.box)

    def accept(self, prediction: Prediction) -> None:
        mask, score = prediction.drawn()
        if self.session.before is None:
            self._keep(Step(Runs.of(mask), score, prediction))
            return
        before = self.steps[self.done].runs.mask()
        merged = merge_correction(before, mask, self.session.clicks[self.done])
        self._keep(Step(Runs.of(merged), score or 1.0))

    def replayed(self) -> Replayed:
        earlier = self.steps.get(self.done - 1) if self.done > 1 or self.session.before is not None else None
        return Replayed(self.steps[self.done], earlier)

    def _agrees(self) -> bool:
        """Whether the next click says of a corrected mask what is so already: it only points at it."""
        if self.session.before is None or self.done < 0:
            return False
        click = self.session.clicks[self.done]
        runs = self.steps[self.done].runs
        return runs.contains(round(click.row), round(click.col)) == click.positive

    def _keep(self, step: Step) -> None:
        self.done += 1
        self.steps[self.done] = step
        self.cache.put(self._key(self.done), step)

    def _key(self, count: int) -> Hashable:
        session = self.session
        return self.model, session.name, session.box, session.before_name, session.clicks[:count]
