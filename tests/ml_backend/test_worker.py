import asyncio
import threading

import pytest

from ml_backend.errors import BusyError, RequestError
from ml_backend.worker import Worker


class Recorder:
    """Answers each piece of work with itself, once it is let go."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.go = threading.Event()

    def run(self, work):
        self.go.wait(5)
        self.calls.append(list(work))
        return [RequestError("bad") if one == "bad" else one.upper() for one in work]


async def until_running(worker) -> None:
    async with asyncio.timeout(5):
        while worker.waiting or not worker.busy:
            await asyncio.sleep(0.001)


def conversation(steps, batch: int = 1, limit: int = 9):
    recorder, superseded = Recorder(), []

    async def run():
        worker = Worker(recorder.run, batch, limit, superseded.append)
        first = asyncio.create_task(worker.do("first", "elsewhere", frozenset()))
        await until_running(worker)
        try:
            return await steps(worker, recorder, first)
        finally:
            recorder.go.set()
            await asyncio.gather(first, return_exceptions=True)
            worker.close()

    return asyncio.run(run()), recorder, superseded


def ask(worker, work: str, prompts: str = "", place: object = "task"):
    return asyncio.create_task(worker.do(work, place, frozenset(prompts)))


def test_do__in_order_and_in_batches():
    async def steps(worker, recorder, first):
        tasks = [ask(worker, work) for work in "abc"]
        await asyncio.sleep(0)
        recorder.go.set()
        return await asyncio.gather(first, *tasks)

    answers, recorder, _ = conversation(steps, batch=2)
    assert answers == ["FIRST", "A", "B", "C"]
    assert recorder.calls == [["first"], ["a", "b"], ["c"]]


def test_do__newer_work_takes_the_place_of_older():
    async def steps(worker, recorder, first):
        tasks = [ask(worker, "one", "x"), ask(worker, "two", "xy"), ask(worker, "three", "xyz")]
        await asyncio.sleep(0)
        recorder.go.set()
        return await asyncio.gather(*tasks)

    answers, recorder, superseded = conversation(steps)
    assert answers == ["THREE"] * 3  # whoever asked gets the newest answer
    assert recorder.calls == [["first"], ["three"]]
    assert superseded == ["one", "two"]


@pytest.mark.parametrize(
    ("older", "newer"),
    [(("x", "task"), ("y", "task")), (("x", "task"), ("xy", "other")), (("", "task"), ("", "task"))],
    ids=["another mask", "another task", "prompts without names"],
)
def test_do__other_work_is_not_superseded(older, newer):
    async def steps(worker, recorder, first):
        tasks = [ask(worker, "one", *older), ask(worker, "two", *newer)]
        await asyncio.sleep(0)
        recorder.go.set()
        return await asyncio.gather(*tasks)

    answers, _, superseded = conversation(steps)
    assert (answers, superseded) == (["ONE", "TWO"], [])


def test_do__full():
    async def steps(worker, recorder, first):
        tasks = [ask(worker, "one"), ask(worker, "two")]
        await asyncio.sleep(0)
        with pytest.raises(BusyError, match="2 clicks wait already"):
            await worker.do("three", "task", frozenset())
        recorder.go.set()
        return await asyncio.gather(*tasks)

    assert conversation(steps, limit=2)[0] == ["ONE", "TWO"]


def test_do__an_error_belongs_to_its_own_work():
    async def steps(worker, recorder, first):
        tasks = [ask(worker, "bad"), ask(worker, "good")]
        await asyncio.sleep(0)
        recorder.go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    (bad, good), _, _ = conversation(steps, batch=2)
    assert isinstance(bad, RequestError)
    assert good == "GOOD"


def test_do__whoever_gave_up_costs_nothing():
    async def steps(worker, recorder, first):
        given_up, kept = ask(worker, "one"), ask(worker, "two")
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.sleep(0)
        recorder.go.set()
        return await kept

    answer, recorder, _ = conversation(steps)
    assert answer == "TWO"
    assert recorder.calls == [["first"], ["two"]]
