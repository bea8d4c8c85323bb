import asyncio
import logging
from contextlib import asynccontextmanager

import numpy as np
import pytest

from ml_backend import prefetch as prefetch_module
from ml_backend.images import Images
from ml_backend.label_studio import LabelStudio
from ml_backend.prefetch import Prefetch
from tests.ml_backend.conftest import encode
from tests.ml_backend.fake_label_studio import LEGACY, presigned

PIXELS = 4 * 6
SIZE = 3 * PIXELS


@pytest.fixture
def project(label_studio):
    """Project 1 with the tasks 1 to 9, each with an image of its own."""
    for number in range(1, 10):
        label_studio.files[f"/{number}.png"] = encode(np.full((4, 6, 3), number, np.uint8))
        label_studio.tasks.append({"id": number, "project": 1, "data": {"image": f"/{number}.png"}})
    return label_studio


@asynccontextmanager
async def prefetching(label_studio, count: int = 3, cache_images: int = 100, **options):
    client = LabelStudio(label_studio.url, LEGACY, back_off_seconds=0.01)
    images = Images(client, cache_bytes=cache_images * SIZE)
    prefetch = Prefetch(client, images, count, **options)
    try:
        yield prefetch, images
    finally:
        await prefetch.close()
        await images.close()


def asked(label_studio) -> list[str]:
    """The files that were asked for."""
    return [path for path, _ in label_studio.asked if not path.startswith("/api/")]


def lists(label_studio) -> int:
    """How often the tasks were listed."""
    return len(label_studio.asked) - len(asked(label_studio))


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def settle(prefetch: Prefetch) -> None:
    """Wait until nothing is planned any more."""
    if prefetch._running is not None:
        await asyncio.wait_for(asyncio.shield(prefetch._running), 5)


def test_opened__loads_the_images_of_the_tasks_that_follow(project):
    async def run() -> None:
        async with prefetching(project) as (prefetch, images):
            prefetch.opened(1, 2, "image")
            assert asked(project) == []  # nothing is done on the spot
            await settle(prefetch)
            assert asked(project) == ["/3.png", "/4.png", "/5.png"]
            await images.load("/4.png", task=4)
            assert len(asked(project)) == 3

    asyncio.run(run())


def test_opened__its_own_image_first(project):
    async def run() -> None:
        async with prefetching(project, count=1) as (prefetch, _):
            prefetch.opened(1, 2, "image", "/2.png")
            await settle(prefetch)
            assert asked(project) == ["/2.png", "/3.png"]

    asyncio.run(run())


def test_opened__last_task(project):
    async def run() -> None:
        async with prefetching(project) as (prefetch, _):
            prefetch.opened(1, 9, "image")
            await settle(prefetch)
            assert (lists(project), asked(project)) == (1, [])

    asyncio.run(run())


def test_opened__cloud_storage(label_studio, photo):
    uri = "s3://bucket/a.png"
    label_studio.tasks = [{"id": 5, "project": 1, "data": {"image": uri}}]
    label_studio.files[presigned(5, uri)] = encode(photo)

    async def run() -> None:
        async with prefetching(label_studio, cache_images=1000) as (prefetch, images):
            prefetch.opened(1, 4, "image")
            await settle(prefetch)
            await images.load(uri, task=5)  # by the key that a click uses
            assert asked(label_studio) == [presigned(5, uri)]

    asyncio.run(run())


def test_opened__none_wanted(project):
    async def run() -> None:
        async with prefetching(project, count=0) as (prefetch, _):
            prefetch.opened(1, 2, "image")
            prefetch.created({1: "/1.png"})
            await settle(prefetch)
        assert project.asked == []

    asyncio.run(run())


def test_opened__same_task_again_within_a_minute(project, monkeypatch):
    async def run() -> None:
        async with prefetching(project) as (prefetch, _):
            for task in (2, 2, 3, 2):
                prefetch.opened(1, task, "image")
                await settle(prefetch)
            assert lists(project) == 2
            monkeypatch.setattr(prefetch_module, "AGAIN_SECONDS", 0.0)
            for _ in range(2):
                prefetch.opened(1, 5, "image")
                await settle(prefetch)
            assert lists(project) == 4

    asyncio.run(run())


def test_opened__tasks_remembered_are_bounded(project, monkeypatch):
    monkeypatch.setattr(prefetch_module, "_REMEMBERED", 2)

    async def run() -> None:
        async with prefetching(project) as (prefetch, _):
            for task in (1, 2, 3):
                prefetch.opened(1, task, "image")
            assert list(prefetch._planned) == [2, 3]

    asyncio.run(run())


def test_opened__newer_plan_takes_the_place_of_the_older(project):
    project.opened.clear()

    async def run() -> None:
        async with prefetching(project) as (prefetch, _):
            prefetch.opened(1, 1, "image")
            await until(lambda: asked(project) == ["/2.png"])
            prefetch.opened(1, 5, "image")
            prefetch.opened(1, 6, "image")
            await asyncio.sleep(0.05)
            assert asked(project) == ["/2.png"]  # one at a time
            project.opened.set()
            await settle(prefetch)
            assert asked(project) == ["/2.png", "/7.png", "/8.png", "/9.png"]

    asyncio.run(run())


def test_opened__waits_while_clicks_are_answered(project):
    busy = [True]

    async def run() -> None:
        async with prefetching(project, busy=lambda: busy[0]) as (prefetch, images):
            prefetch.opened(1, 1, "image")
            await asyncio.sleep(0.1)
            assert project.asked == []
            busy[0] = False
            project.opened.clear()
            await until(lambda: asked(project) == ["/2.png"])
            busy[0] = True
            project.opened.set()
            await asyncio.wait_for(images.load("/2.png", 2), 5)  # the click joins what is under way
            await asyncio.sleep(0.1)
            assert asked(project) == ["/2.png"]
            busy[0] = False
            await settle(prefetch)
            assert asked(project) == ["/2.png", "/3.png", "/4.png"]

    asyncio.run(run())


def test_opened__leaves_room_for_what_is_in_use(project):
    async def run() -> None:
        async with prefetching(project, count=8, cache_images=6, share=0.5) as (prefetch, images):
            await images.load("/1.png")
            prefetch.opened(1, 1, "image")
            await settle(prefetch)
            await images.load("/1.png")
            assert asked(project) == [f"/{number}.png" for number in (1, 2, 3, 4)]

    asyncio.run(run())


def test_opened__image_that_cannot_be_had_is_passed_over(project, caplog):
    del project.files["/2.png"]
    project.files["/3.png"] = b"<html>"
    project.tasks[3]["data"] = {"image": None}
    project.tasks[4]["data"] = {"image": "http://elsewhere.example/5.png?X-Amz-Signature=5ecre7"}

    async def run() -> None:
        async with prefetching(project, count=5) as (prefetch, _):
            with caplog.at_level(logging.INFO):
                prefetch.opened(1, 1, "image")
                await settle(prefetch)

    asyncio.run(run())
    assert asked(project) == ["/2.png", "/3.png", "/6.png"]
    assert (
        "The image of task 2 is not loaded ahead: Label Studio answers '/2.png' with HTTP 404" in caplog.text
    )
    assert "task 3" in caplog.text and "task 5" in caplog.text
    assert "5ecre7" not in caplog.text


def test_opened__label_studio_down_is_logged_and_the_next_plan_goes_on(project, caplog):
    project.dropped_connections = 3

    async def run() -> None:
        async with prefetching(project) as (prefetch, _):
            with caplog.at_level(logging.INFO):
                prefetch.opened(1, 1, "image")
                await settle(prefetch)
            prefetch.opened(1, 6, "image")
            await settle(prefetch)

    asyncio.run(run())
    assert "No images are loaded ahead: Label Studio at" in caplog.text
    assert asked(project) == ["/7.png", "/8.png", "/9.png"]


def test_opened__unexpected_failure_is_logged_with_its_trace(project, caplog):
    async def run() -> None:
        async with prefetching(project, busy=lambda: {}["broken"]) as (prefetch, _):
            with caplog.at_level(logging.INFO):
                prefetch.opened(1, 1, "image")
                await settle(prefetch)

    asyncio.run(run())
    assert "KeyError" in caplog.text


def test_opened__prepares_what_it_loaded_between_clicks(project):
    prepared, busy = [], [False]

    async def prepare(image) -> None:
        prepared.append(int(image.pixels[0, 0, 0]))
        busy[0] = len(prepared) == 2  # a click comes

    async def run() -> None:
        async with prefetching(project, busy=lambda: busy[0], prepare=prepare) as (prefetch, _):
            prefetch.opened(1, 2, "image")
            await until(lambda: busy[0])
            await asyncio.sleep(0.1)
            assert prepared == [3, 4]
            busy[0] = False
            await settle(prefetch)

    asyncio.run(run())
    assert prepared == [3, 4, 5]


def test_created__first_few(project):
    async def run() -> None:
        async with prefetching(project) as (prefetch, _):
            prefetch.created({number: f"/{number}.png" for number in range(1, 10)})
            await settle(prefetch)

    asyncio.run(run())
    assert asked(project) == ["/1.png", "/2.png", "/3.png"]
    assert lists(project) == 0


def test_created__open_task_comes_first(project):
    project.opened.clear()

    async def run() -> None:
        async with prefetching(project) as (prefetch, _):
            prefetch.created({1: "/1.png", 2: "/2.png"})
            await until(lambda: asked(project) == ["/1.png"])
            prefetch.opened(1, 6, "image")
            prefetch.created({3: "/3.png"})
            project.opened.set()
            await settle(prefetch)

    asyncio.run(run())
    assert asked(project) == ["/1.png", "/7.png", "/8.png", "/9.png"]


def test_close__while_loading(project):
    project.opened.clear()

    async def run() -> None:
        async with prefetching(project) as (prefetch, _):
            prefetch.opened(1, 1, "image")
            await until(lambda: asked(project) == ["/2.png"])
            await asyncio.wait_for(prefetch.close(), 1)
            project.opened.set()
            await asyncio.sleep(0.05)
            assert asked(project) == ["/2.png"]

    asyncio.run(run())
