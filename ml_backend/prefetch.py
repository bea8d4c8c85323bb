"""Prefetch: the images of the tasks that come next, loaded and prepared before anybody clicks on them."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import islice

from maskloop.errors import MaskloopError
from ml_backend.images import Images, LoadedImage
from ml_backend.label_studio import LabelStudio

logger = logging.getLogger(__name__)

SHARE = 0.5
"""Of the memory for pixels: what one plan may load. The other half stays for what is being clicked on."""

AGAIN_SECONDS = 60.0
"""How long a task is not planned for again: each click on it may tell that it is open."""

_BUSY_SECONDS = 0.05
_REMEMBERED = 256


@dataclass(frozen=True)
class _Opened:
    project: int
    task: int
    image_key: str
    address: str


_Plan = _Opened | dict[int, str]
"""What is loaded next: what follows a task, or addresses by task id."""


class Prefetch:
    """Loads images ahead, one at a time, beside the clicks and after them. It is used from one event loop."""

    def __init__(
        self,
        label_studio: LabelStudio,
        images: Images,
        count: int,
        busy: Callable[[], bool] = lambda: False,
        share: float = SHARE,
        prepare: Callable[[LoadedImage], Awaitable[None]] | None = None,
    ) -> None:
        """
        Args:
            label_studio: is asked which tasks come next.
            images: keep what is loaded.
            count: how many tasks ahead; 0: none.
            busy: whether clicks are being answered: nothing is begun meanwhile.
            share: of the memory of `images` that one plan may fill.
            prepare: what else is done with an image that is loaded.
        """
        self._label_studio = label_studio
        self._images = images
        self._count = count
        self._busy = busy
        self._budget = share * images.cache_bytes
        self._prepare = prepare
        self._plan: _Plan | None = None
        self._planned: dict[int, float] = {}
        self._running: asyncio.Task[None] | None = None

    def opened(self, project: int, task: int, image_key: str, address: str = "") -> None:
        """A task is open: load its image and those that follow. It takes the place of an earlier plan.

        Args:
            project: the id of its project.
            task: its id.
            image_key: the key of `data` that holds the address of the image.
            address: of its own image; empty where that is being loaded already.
        """
        now = time.monotonic()
        if not self._count or now < self._planned.get(task, 0.0):
            return
        self._planned.pop(task, None)
        self._planned[task] = now + AGAIN_SECONDS
        while len(self._planned) > _REMEMBERED:
            del self._planned[next(iter(self._planned))]
        self._start(_Opened(project, task, image_key, address))

    def created(self, addresses: Mapping[int, str]) -> None:
        """Tasks are created: load the images of the first, unless there is a plan for an open task.

        Args:
            addresses: of the images, by task id.
        """
        if self._count and not isinstance(self._plan, _Opened):
            self._start(dict(islice(addresses.items(), self._count)))

    async def close(self) -> None:
        """Stop. What is being loaded is not waited for."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    def _start(self, plan: _Plan) -> None:
        self._plan = plan
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while (plan := self._plan) is not None:
            try:
                await self._carry_out(plan)
            except Exception as error:  # nobody waits for this, and the clicks that come will tell more
                expected = isinstance(error, MaskloopError)
                logger.info("No images are loaded ahead: %s", error, exc_info=not expected)
            if self._plan is plan:
                self._plan = None

    async def _carry_out(self, plan: _Plan) -> None:
        await self._wait_for_clicks()
        if isinstance(plan, _Opened) and plan.address:
            await self._load(plan.task, plan.address)
        addresses = plan if isinstance(plan, dict) else await self._following(plan)
        loaded = largest = 0
        for task, address in addresses.items():
            await self._wait_for_clicks()
            # images of a project are alike: the next may be as large as the largest so far
            if self._plan is not plan or loaded + largest > self._budget:
                return
            size = await self._load(task, address)
            loaded, largest = loaded + size, max(largest, size)

    async def _following(self, opened: _Opened) -> dict[int, str]:
        tasks = await self._label_studio.tasks_after(opened.project, opened.task, self._count)
        found = {task.id: task.data.get(opened.image_key) for task in tasks[: self._count]}
        return {
            task: address
            for task, address in found.items()
            if isinstance(task, int) and isinstance(address, str)
        }

    async def _load(self, task: int, address: str) -> int:
        """Bytes of the pixels; 0 for an image that cannot be had, which is no reason not to load the next."""
        try:
            image = await self._images.load_ahead(address, task)
        except MaskloopError as error:
            logger.info("The image of task %d is not loaded ahead: %s", task, error)
            return 0
        if self._prepare is not None:
            await self._wait_for_clicks()
            await self._prepare(image)
        return image.nbytes

    async def _wait_for_clicks(self) -> None:
        while self._busy():
            await asyncio.sleep(_BUSY_SECONDS)
