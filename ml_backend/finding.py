"""Finding: the mask that answers a question, in the thread that owns the model."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from maskloop.predictor import PreparedImage
from maskloop.runs import Runs
from maskloop.sketches import Sketch
from ml_backend.answers import Answer, mask_region, stored_runs
from ml_backend.cache import ArrayCache
from ml_backend.champion import Champion, Served
from ml_backend.controls import Controls, Output
from ml_backend.images import LoadedImage
from ml_backend.prompts import Prompts
from ml_backend.protocol import Task
from ml_backend.replay import Replay, Replayed, Session
from ml_backend.stored import Stored, Target
from ml_backend.telemetry import Telemetry

PREPARED_BYTES = 256 * 2**20
"""Of images with what a model made of them before the first click."""


@dataclass(frozen=True)
class Question:
    """The prompts on one object of one image, and when they were asked about."""

    project: int | None
    task: Task
    image: LoadedImage
    controls: Controls
    prompts: Prompts
    started: float
    waiting: float

    @property
    def milliseconds(self) -> float:
        """Since it was asked."""
        return (time.perf_counter() - self.started) * 1000


@dataclass(frozen=True)
class Found:
    """The mask that answers a question, as the region that shows it; `region` is None for an empty mask.

    stored: the mask that the region describes, which is what will be collected.
    """

    question: Question
    served: Served
    session: Session
    replayed: Replayed
    output: Output
    target: Target | None
    region: Answer | None
    stored: Runs
    sketch: str
    predict_seconds: float


class Finder:
    """Finds masks with whatever is champion. It is used by one thread."""

    def __init__(self, champion: Champion, telemetry: Telemetry, cache_bytes: int) -> None:
        self._champion = champion
        self._telemetry = telemetry
        self._replay = Replay(cache_bytes)
        self._stored = Stored()
        self._prepared: ArrayCache[PreparedImage] = ArrayCache(PREPARED_BYTES)
        telemetry.watch_cache("masks", lambda: self._replay.cache.size, cache_bytes)
        telemetry.watch_cache("prepared images", lambda: self._prepared.size, PREPARED_BYTES)

    def find(self, questions: Sequence[Question]) -> list[Found | Exception | None]:
        """The mask of each question; None where nothing says what is meant."""
        served = self._champion.served
        results: list[Found | Exception | None] = [None] * len(questions)
        asked: dict[int, tuple[Session, Target | None]] = {}
        for number, question in enumerate(questions):
            self._telemetry.observe("queue", time.perf_counter() - question.waiting)
            try:
                session = self._session(served, question)
            except Exception as error:  # noqa: BLE001 - it is raised again for the request that it belongs to
                results[number] = error
            else:
                if session is not None:
                    asked[number] = session
        if not asked:
            return results
        before = time.perf_counter()
        try:
            with self._telemetry.stage("predict"):
                replays = self._replay.predict(served.predictor, [session for session, _ in asked.values()])
        except Exception as error:  # noqa: BLE001 - as above
            return [error if number in asked else result for number, result in enumerate(results)]
        seconds = (time.perf_counter() - before) / len(asked)
        with self._telemetry.stage("encode"):
            for number, replayed in zip(asked, replays, strict=True):
                results[number] = _show(served, questions[number], *asked[number], replayed, seconds)
        return results

    def prepare(self, image: LoadedImage) -> None:
        """Do what the model does once for an image, for a click that may come."""
        self._prepare(self._champion.served, image)

    def _session(self, served: Served, question: Question) -> tuple[Session, Target | None] | None:
        """What is asked of the model, and the region that it corrects."""
        height, width = question.image.pixels.shape[:2]
        controls, prompts, task = question.controls, question.prompts, question.task
        box = self._stored.box(task, controls, prompts)
        if box is not None:
            prompts = replace(prompts, rectangle=box)
        target = self._stored.target(task, controls, prompts, height, width)
        if target is None and not prompts.has_target:
            return None
        prepared = self._prepare(served, question.image)
        session = Session(
            prepared,
            question.image.sha256,
            tuple(prompts.clicks(height, width)),
            prompts.box(height, width),
            target.runs if target else None,
            target.name if target else "",
        )
        return session, target

    def _prepare(self, served: Served, image: LoadedImage) -> PreparedImage:
        """What the model makes of an image once; another model makes it anew."""
        key = image.sha256, served.predictor.sha256
        prepared = self._prepared.get(key)
        if prepared is None:
            with self._telemetry.stage("prepare"):
                prepared = served.predictor.prepare(image.pixels)
            self._prepared.put(key, prepared)
        return prepared


def _show(
    served: Served,
    question: Question,
    session: Session,
    target: Target | None,
    replayed: Replayed,
    seconds: float,
) -> Found:
    label = question.prompts.label
    output = target.output if target else question.controls.output(label)
    region, stored, sketch = None, replayed.last.runs, ""
    if stored.filled.any():
        region = mask_region(
            stored,
            replayed.last.score,
            output,
            question.controls.image,
            label,
            target.id if target else None,
        )
        stored = stored_runs(region, stored)
        sketch = str(Sketch.of(stored)) if stored.area else ""
    return Found(question, served, session, replayed, output, target, region, stored, sketch, seconds)
