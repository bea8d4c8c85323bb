"""The worker with a real thread in a real event loop."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence

import pytest

from ml_backend.errors import BusyError
from ml_backend.worker import Worker

NO_PROMPTS: frozenset[str] = frozenset()


class Gate:
    """Work that is done when the gate opens: everything after the first piece has to wait in line."""

    def __init__(self, batch: int = 1, limit: int = 10) -> None:
        self.opened = threading.Event()
        self.batches: list[list[str]] = []
        self.superseded: list[str] = []
        self.worker: Worker[str, str] = Worker(self.run, batch, limit, self.superseded.append)

    def run(self, work: Sequence[str]) -> Sequence[str | Exception]:
        self.batches.append(list(work))
        self.opened.wait(10)
        return [ValueError(name) if name.startswith("bad") else name.upper() for name in work]

    def ask(self, name: str, place: object = None, prompts: str = "") -> "asyncio.Task[str]":
        return asyncio.create_task(self.worker.do(name, place or name, frozenset(prompts)))

    async def first(self) -> "asyncio.Task[str]":
        """A piece of work that keeps the thread until the gate opens."""
        task = self.ask("first")
        while not self.batches:
            await asyncio.sleep(0.001)
        return task


def run(gate: Gate, conversation: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await conversation()
        gate.worker.close()

    asyncio.run(bounded())


def test_do__in_the_order_of_asking():
    gate = Gate()

    async def conversation() -> None:
        tasks = [await gate.first(), *(gate.ask(name) for name in "abc")]
        await asyncio.sleep(0)
        assert (gate.worker.waiting, gate.worker.busy) == (3, True)
        gate.opened.set()
        assert await asyncio.gather(*tasks) == ["FIRST", "A", "B", "C"]
        await asyncio.sleep(0)
        assert (gate.worker.waiting, gate.worker.busy) == (0, False)

    run(gate, conversation)
    assert gate.batches == [["first"], ["a"], ["b"], ["c"]]


def test_do__what_waits_goes_together():
    gate = Gate(batch=2)

    async def conversation() -> None:
        tasks = [await gate.first(), *(gate.ask(name) for name in "abc")]
        await asyncio.sleep(0)
        gate.opened.set()
        assert await asyncio.gather(*tasks) == ["FIRST", "A", "B", "C"]

    run(gate, conversation)
    assert gate.batches == [["first"], ["a", "b"], ["c"]]


def test_do__again_after_a_pause():
    gate = Gate()
    gate.opened.set()

    async def conversation() -> None:
        assert await gate.ask("a") == "A"
        await asyncio.sleep(0.01)
        assert await gate.ask("b") == "B"

    run(gate, conversation)


def test_limit__refuses_what_is_too_much():
    gate = Gate(limit=2)

    async def conversation() -> None:
        first, *waiting = [await gate.first(), gate.ask("a"), gate.ask("b")]
        with pytest.raises(BusyError, match="MASKLOOP_QUEUE"):
            await gate.ask("c")
        gate.opened.set()
        assert await asyncio.gather(first, *waiting) == ["FIRST", "A", "B"]

    run(gate, conversation)


def test_limit__a_newer_click_of_a_waiting_one_gets_in():
    gate = Gate(limit=1)

    async def conversation() -> None:
        await gate.first()
        older, newer = gate.ask("older", "place", "x"), gate.ask("newer", "place", "xy")
        await asyncio.sleep(0)
        gate.opened.set()
        assert await asyncio.gather(older, newer) == ["NEWER", "NEWER"]

    run(gate, conversation)


def test_superseding__the_older_gets_the_answer_of_the_newest():
    gate = Gate()

    async def conversation() -> None:
        await gate.first()
        tasks = [gate.ask(name, "place", name) for name in ("x", "xy", "xyz")]
        await asyncio.sleep(0)
        assert gate.worker.waiting == 1
        gate.opened.set()
        assert await asyncio.gather(*tasks) == ["XYZ"] * 3

    run(gate, conversation)
    assert gate.batches == [["first"], ["xyz"]]
    assert gate.superseded == ["x", "xy"]


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (("place", "x"), ("elsewhere", "xy")),
        (("place", "xz"), ("place", "xy")),
        (("place", "xy"), ("place", "x")),
        (("place", ""), ("place", "x")),
    ],
    ids=["another place", "other prompts", "fewer prompts", "no names"],
)
def test_superseding__not(older, newer):
    gate = Gate()

    async def conversation() -> None:
        await gate.first()
        tasks = [gate.ask("a", *older), gate.ask("b", *newer)]
        await asyncio.sleep(0)
        gate.opened.set()
        assert await asyncio.gather(*tasks) == ["A", "B"]

    run(gate, conversation)
    assert gate.superseded == []


def test_superseding__what_runs_already_is_not_taken_back():
    gate = Gate()

    async def conversation() -> None:
        older = gate.ask("older", "place", "x")
        while not gate.batches:
            await asyncio.sleep(0.001)
        newer = gate.ask("newer", "place", "xy")
        await asyncio.sleep(0)
        gate.opened.set()
        assert await asyncio.gather(older, newer) == ["OLDER", "NEWER"]

    run(gate, conversation)


def test_error__is_its_own_only():
    gate = Gate(batch=3)

    async def conversation() -> None:
        await gate.first()
        tasks = [gate.ask(name) for name in ("a", "bad", "b")]
        await asyncio.sleep(0)
        gate.opened.set()
        a, bad, b = await asyncio.gather(*tasks, return_exceptions=True)
        assert (a, str(bad), b) == ("A", "bad", "B")

    run(gate, conversation)


def test_error__raised_by_the_run_fails_its_batch_and_nothing_after_it():
    def fail(work: Sequence[str]) -> Sequence[str]:
        if "bad" in work:
            raise RuntimeError("out of memory")
        return work

    worker: Worker[str, str] = Worker(fail, 1, 10)

    async def conversation() -> None:
        async with asyncio.timeout(5):
            tasks = [asyncio.create_task(worker.do(name, name, NO_PROMPTS)) for name in ("bad", "good")]
            bad, good = await asyncio.gather(*tasks, return_exceptions=True)
            assert (str(bad), good) == ("out of memory", "good")
            assert await worker.do("later", "later", NO_PROMPTS) == "later"

    asyncio.run(conversation())
    worker.close()


def test_cancelled__is_skipped():
    gate = Gate()

    async def conversation() -> None:
        first = await gate.first()
        given_up, kept = gate.ask("given up"), gate.ask("kept")
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.sleep(0)
        gate.opened.set()
        assert await asyncio.gather(first, kept) == ["FIRST", "KEPT"]

    run(gate, conversation)
    assert gate.batches == [["first"], ["kept"]]


def test_cancelled__is_done_for_the_one_that_it_superseded():
    gate = Gate()

    async def conversation() -> None:
        await gate.first()
        older, newer = gate.ask("older", "place", "x"), gate.ask("newer", "place", "xy")
        await asyncio.sleep(0)
        newer.cancel()
        gate.opened.set()
        assert await older == "NEWER"

    run(gate, conversation)


def test_cancelled__no_longer_counts_as_waiting():
    gate = Gate(limit=1)

    async def conversation() -> None:
        await gate.first()
        given_up = gate.ask("given up")
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.sleep(0)
        kept = gate.ask("kept")
        await asyncio.sleep(0)
        gate.opened.set()
        assert await kept == "KEPT"

    run(gate, conversation)


def test_close__gives_up_what_waits():
    gate = Gate()

    async def conversation() -> None:
        first, waiting = await gate.first(), gate.ask("a")
        await asyncio.sleep(0)
        gate.worker.close()
        gate.opened.set()
        assert await first == "FIRST"
        with pytest.raises(asyncio.CancelledError):
            await waiting

    run(gate, conversation)
    assert gate.batches == [["first"]]


def test_aside__in_the_thread_of_the_work():
    threads: list[int] = []

    async def conversation() -> None:
        worker: Worker[str, None] = Worker(
            lambda work: [threads.append(threading.get_ident()) for _ in work], 1, 1
        )
        await worker.do("a", None, frozenset())
        await worker.aside(lambda: threads.append(threading.get_ident()))
        worker.close()

    asyncio.run(conversation())
    assert len(threads) == 2
    assert threads[0] == threads[1] != threading.get_ident()
