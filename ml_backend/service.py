"""The service: a request for predictions to the answers of Label Studio, one for each task."""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from maskloop.arrays import Image
from ml_backend.answers import Answer, Provenance, brush_answer
from ml_backend.champion import Champion
from ml_backend.controls import Controls, read_controls
from ml_backend.errors import RequestError
from ml_backend.images import Images
from ml_backend.prompts import Prompts, read_prompts
from ml_backend.protocol import PredictRequest, Task
from ml_backend.replay import Replay

logger = logging.getLogger(__name__)

NO_ANSWER: list[Answer] = []
"""What Label Studio accepts as "nothing found": it stores nothing and shows no error."""


@dataclass(frozen=True)
class Session:
    """The clicks on one object of one image, and when they were asked about."""

    image: Image
    address: str
    controls: Controls
    prompts: Prompts
    started: float


class Service:
    """Answers clicks. One worker thread owns the model, so that the probes answer during a prediction."""

    def __init__(self, champion: Champion, images: Images) -> None:
        self.champion = champion
        self._images = images
        self._replay = Replay()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prediction")

    async def predict(self, request: PredictRequest) -> list[Answer | list[Answer]]:
        """One answer for each task; `[]` where there is nothing to show.

        Raises:
            RequestError: prompts or a configuration that cannot be used.
            UnavailableImageError, UnreachableError, ImageError: the image cannot be had.
        """
        if not request.prompts:
            return [NO_ANSWER for _ in request.tasks]
        if len(request.tasks) != 1:
            raise RequestError(
                f"tasks: {len(request.tasks)} of them with one context; prompts belong to one task."
            )
        prompts = read_prompts(request.prompts)
        controls = read_controls(request.label_config)
        if controls is None:
            logger.warning(
                "Project configuration without BrushLabels on an Image: no mask can be shown. Add "
                '<BrushLabels name="brush" toName="image">.'
            )
            return [NO_ANSWER]
        if not prompts.has_target:
            return [NO_ANSWER]
        answer = await self._answer(request.tasks[0], controls, prompts)
        return [NO_ANSWER if answer is None else answer]

    async def close(self) -> None:
        self._worker.shutdown()
        await self._images.close()

    async def _answer(self, task: Task, controls: Controls, prompts: Prompts) -> Answer | None:
        started = time.perf_counter()
        address = controls.image_address(task)
        image = (await self._images.load(address, task.id)).pixels
        session = Session(image, address, controls, prompts, started)
        answer = await asyncio.get_running_loop().run_in_executor(self._worker, self._segment, session)
        logger.info(
            "Task %s: %d prompts on %d x %d, %s, %.0f ms",
            task.id,
            prompts.count,
            image.shape[1],
            image.shape[0],
            "empty mask" if answer is None else f"score {answer['score']}",
            (time.perf_counter() - started) * 1000,
        )
        return answer

    def _segment(self, session: Session) -> Answer | None:
        served = self.champion.served
        image, prompts = session.image, session.prompts
        height, width = image.shape[:2]
        prediction = self._replay.predict(
            served.predictor,
            image,
            session.address,
            prompts.clicks(height, width),
            prompts.box(height, width),
        )
        provenance = Provenance(
            model=served.version,
            sha256=served.predictor.sha256,
            prompts=prompts.count,
            milliseconds=round((time.perf_counter() - session.started) * 1000),
        )
        return brush_answer(prediction, session.controls, prompts.label, provenance)
