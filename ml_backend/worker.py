"""The worker: one thread owns the model, and clicks wait for it in a bounded line.

A click that comes while an older one of the same mask still waits takes its place: the editor shows only the
newest answer, so the older one is never computed and gets the newer one's answer.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ml_backend.errors import BusyError

Work = TypeVar("Work")
Result = TypeVar("Result")


@dataclass(eq=False)
class _Waiting(Generic[Work, Result]):
    work: Work
    place: object
    prompts: frozenset[str]
    future: "asyncio.Future[Result]"
    superseded: "list[asyncio.Future[Result]]" = field(default_factory=list)

    @property
    def futures(self) -> "list[asyncio.Future[Result]]":
        """Of all who get the answer."""
        return [self.future, *self.superseded]

    @property
    def is_wanted(self) -> bool:
        """Whether somebody still waits for it."""
        return not all(future.done() for future in self.futures)


class Worker(Generic[Work, Result]):
    """Runs work in one thread, up to `batch` pieces at a time. It is used from one event loop."""

    def __init__(
        self,
        run: Callable[[Sequence[Work]], Sequence[Result | Exception]],
        batch: int,
        limit: int,
        on_superseded: Callable[[Work], None] = lambda _: None,
    ) -> None:
        """
        Args:
            run: gives the result or the error of each piece of work; called in the thread.
            batch: pieces that `run` is given at once, if as many wait.
            limit: pieces that may wait.
            on_superseded: told of work that is not done because newer work takes its place.
        """
        self._run = run
        self._batch = batch
        self._limit = limit
        self._on_superseded = on_superseded
        self._line: list[_Waiting[Work, Result]] = []
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prediction")
        self._task: asyncio.Task[None] | None = None
        self._running = 0

    @property
    def waiting(self) -> int:
        return len(self._line)

    @property
    def busy(self) -> bool:
        return bool(self._line or self._running)

    async def do(self, work: Work, place: object, prompts: frozenset[str]) -> Result:
        """The result of a piece of work.

        Args:
            work: is passed to `run`.
            place: work at the same place supersedes older work whose prompts are among its own.
            prompts: names of the prompts; empty: nothing is superseded.

        Raises:
            BusyError: too many wait.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(work, place, prompts, future)
        self._line = [one for one in self._line if one.is_wanted]
        self._supersede(waiting)
        if len(self._line) >= self._limit:
            raise BusyError(
                f"{len(self._line)} clicks wait already, as many as MASKLOOP_QUEUE lets: click again soon."
            )
        self._line.append(waiting)
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        return await future

    async def aside(self, work: Callable[[], object]) -> None:
        """Do something else in the thread, between the pieces of work: what comes meanwhile waits for it."""
        await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """End the thread after what it is doing; what waits is given up."""
        for waiting in self._line:
            waiting.future.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _supersede(self, newer: _Waiting[Work, Result]) -> None:
        for older in list(self._line):
            if older.place == newer.place and older.prompts and older.prompts <= newer.prompts:
                self._line.remove(older)
                newer.superseded += [older.future, *older.superseded]
                self._on_superseded(older.work)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._line:
            taken, self._line = self._line[: self._batch], self._line[self._batch :]
            taken = [one for one in taken if one.is_wanted]
            self._running = len(taken)
            if not taken:
                continue
            try:
                work = [one.work for one in taken]
                results = await loop.run_in_executor(self._thread, self._run, work)
            except Exception as error:  # noqa: BLE001 - raised again for all who asked; the line goes on
                results = [error] * len(taken)
            for one, result in zip(taken, results, strict=True):
                _resolve(one, result)
        self._running, self._task = 0, None


def _resolve(waiting: _Waiting[Work, Result], result: Result | Exception) -> None:
    for future in waiting.futures:
        if future.done():  # whoever asked has given up
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
