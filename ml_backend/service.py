"""The service: a request for predictions to the answers of Label Studio, one for each task."""

import asyncio
import logging
import time
from dataclasses import replace
from datetime import UTC, datetime

from maskloop.journal import Entry, mask_sha256
from ml_backend.answers import Answer, Provenance, signed
from ml_backend.champion import Champion
from ml_backend.controls import Controls, read_controls
from ml_backend.errors import BusyError, RequestError
from ml_backend.finding import Finder, Found, Question
from ml_backend.images import Images, LoadedImage
from ml_backend.journal import Journal
from ml_backend.prefetch import Prefetch
from ml_backend.prompts import Prompts, by_label, read_prompts
from ml_backend.protocol import PredictRequest
from ml_backend.settings import Settings
from ml_backend.telemetry import Telemetry
from ml_backend.worker import Worker

logger = logging.getLogger(__name__)

NO_ANSWER: list[Answer] = []
"""What Label Studio accepts as "nothing found": it stores nothing and shows no error."""


class Service:
    """Answers clicks. One worker thread owns the model, so that the probes answer during a prediction."""

    def __init__(
        self,
        champion: Champion,
        images: Images,
        settings: Settings,
        telemetry: Telemetry,
        journal: Journal | None = None,
        prefetch: Prefetch | None = None,
    ) -> None:
        self.champion = champion
        self.telemetry = telemetry
        self.prefetch = prefetch
        self._images = images
        self._settings = settings
        self._journal = journal
        self._finder = Finder(champion, telemetry, settings.mask_cache_mb * 2**20)
        self._worker: Worker[Question, Found | None] = Worker(
            self._finder.find, settings.batch, settings.queue, self._superseded
        )
        telemetry.watch_queue(lambda: self._worker.waiting, settings.queue)

    @property
    def busy(self) -> bool:
        """Whether clicks are being answered."""
        return self._worker.busy

    async def predict(self, request: PredictRequest) -> list[Answer | list[Answer]]:
        """One answer for each task; `[]` where there is nothing to show.

        Raises:
            RequestError: prompts or a configuration that cannot be used.
            UnavailableImageError, UnreachableError, ImageError: the image cannot be had.
            BusyError: more clicks than can be answered.
        """
        if not request.prompts:
            self._opened(request)
            return [NO_ANSWER for _ in request.tasks]
        if len(request.tasks) != 1:
            raise RequestError(
                f"tasks: {len(request.tasks)} of them with one context; prompts belong to one task."
            )
        controls = read_controls(request.label_config, request.prompts[0].to_name)
        if controls is None:
            logger.warning(
                "Project configuration without BrushLabels, PolygonLabels or BitmaskLabels on an Image: no "
                'mask can be shown. Add <BrushLabels name="brush" toName="image">.'
            )
            self.telemetry.counted("nothing")
            return [NO_ANSWER]
        groups = [read_prompts(group, self._settings.max_clicks) for group in by_label(request.prompts)]
        if not any(prompts.has_target for prompts in groups) and not request.tasks[0].holds_anything:
            self.telemetry.counted("nothing")
            return [NO_ANSWER]
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                answer = await self._answer(request, controls, groups)
        except TimeoutError as error:
            raise BusyError(
                f"Task {request.tasks[0].id} is not answered within {self._settings.timeout_seconds:g} s: "
                "fewer people at a time, a faster machine, or a larger MASKLOOP_TIMEOUT_SECONDS help."
            ) from error
        return [NO_ANSWER if answer is None else answer]

    async def prepare(self, image: LoadedImage) -> None:
        """Do what the model does once for an image, so that the first click on it need not wait for that."""
        await self._worker.aside(lambda: self._finder.prepare(image))

    async def close(self) -> None:
        """Give up what waits, and close what was given."""
        if self.prefetch is not None:
            await self.prefetch.close()
        self._worker.close()
        await self._images.close()
        if self._journal is not None:
            self._journal.close()

    def _opened(self, request: PredictRequest) -> None:
        """A task is opened: its image and the next ones are loaded before the first click."""
        controls = read_controls(request.label_config) if request.label_config else None
        if controls is not None and len(request.tasks) == 1:
            address = request.tasks[0].data.get(controls.image_key)
            self._load_ahead(request, controls, address if isinstance(address, str) else "")

    def _load_ahead(self, request: PredictRequest, controls: Controls, address: str = "") -> None:
        task, project = request.tasks[0], request.project_id
        if self.prefetch is not None and project is not None and isinstance(task.id, int):
            self.prefetch.opened(project, task.id, controls.image_key, address)

    async def _answer(
        self, request: PredictRequest, controls: Controls, groups: list[Prompts]
    ) -> Answer | None:
        started = time.perf_counter()
        task = request.tasks[0]
        with self.telemetry.stage("fetch"):
            image = await self._images.load(controls.image_address(task), task.id)
        self._load_ahead(request, controls)
        waiting = time.perf_counter()
        questions = [
            Question(request.project_id, task, image, controls, prompts, started, waiting)
            for prompts in groups
        ]
        place = (request.project_id, task.id)
        found = await asyncio.gather(
            *(self._worker.do(question, place, question.prompts.ids) for question in questions)
        )
        answered = [one for one in found if one is not None]
        self.telemetry.observe("total", time.perf_counter() - started)
        for question, one in zip(questions, found, strict=True):
            if one is None:
                self.telemetry.counted("nothing")
            elif one.question is question:  # else a newer click is answered, which sees to this itself
                self._note(one)
        shown = [(one.region, _provenance(one)) for one in answered if one.region is not None]
        return signed([region for region, _ in shown], [origin for _, origin in shown]) if shown else None

    def _note(self, found: Found) -> None:
        """Count an answer, log it, and write it into the journal."""
        self.telemetry.counted("nothing" if found.region is None else "answered")
        runs = found.replayed.last.runs
        logger.info(
            "Task %s: %d prompts on %d x %d, %s, %.0f ms",
            found.question.task.id,
            found.session.prompts,
            runs.width,
            runs.height,
            "empty mask" if found.region is None else f"score {found.region['score']}",
            found.question.milliseconds,
        )
        if self._journal is not None:
            self._journal.append(_entry(found))

    def _superseded(self, question: Question) -> None:
        self.telemetry.counted("superseded")
        if self._journal is not None:
            self._journal.append(_superseded_entry(question))


def _provenance(found: Found) -> Provenance:
    return Provenance(
        model=found.served.version,
        sha256=found.served.predictor.sha256,
        prompts=found.session.prompts,
        milliseconds=round(found.question.milliseconds),
        refined=found.target is not None,
        sketch=found.sketch,
    )


def _entry(found: Found) -> Entry:
    """What the journal keeps of an answer."""
    runs, earlier = found.replayed.last.runs, found.replayed.earlier
    return replace(
        _superseded_entry(found.question),
        region=found.region["id"] if found.region else None,
        refined=found.target is not None,
        shape=found.output.shape,
        clicks=found.session.clicks,
        box=found.session.box,
        mask_sha256=mask_sha256(found.stored.mask()),
        area=runs.area,
        iou=runs.intersection_over_union(earlier.runs) if earlier else None,
        model=found.served.version,
        weights_sha256=found.served.predictor.sha256,
        predict_milliseconds=found.predict_seconds * 1000,
        outcome="nothing" if found.region is None else "mask",
    )


def _superseded_entry(question: Question) -> Entry:
    """What the journal keeps of a click that no model was asked about."""
    height, width = question.image.pixels.shape[:2]
    task = question.task.id
    return Entry(
        time=datetime.now(UTC),
        project=question.project,
        task=task if isinstance(task, int) else None,
        region=None,
        refined=False,
        label=question.prompts.label,
        shape=question.controls.output(question.prompts.label).shape,
        clicks=tuple(question.prompts.clicks(height, width)),
        box=question.prompts.box(height, width),
        height=height,
        width=width,
        image_sha256=question.image.sha256,
        mask_sha256=None,
        area=0,
        iou=None,
        model="",
        weights_sha256="",
        milliseconds=question.milliseconds,
        predict_milliseconds=0.0,
        outcome="superseded",
    )
