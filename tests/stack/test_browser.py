"""What a labeler clicks and accepts in a real browser is stored pixel by pixel as it was shown."""

import io
import re
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from maskloop.images import decode_image
from maskloop.masks import polygon_to_mask
from maskloop.regions import regions
from pipelines.samples import SamplePhoto, load_samples
from pipelines.stack import project as demo
from pipelines.stack.labeler import painted
from pipelines.stack.project import INTERFACE, LABEL
from pipelines.stack.up import Stack
from tests.stack.editor import PROMPT_CONTROLS, Answer, Editor, launch

pytestmark = pytest.mark.stack

Mask = npt.NDArray[np.bool_]
MakeEditor = Callable[..., Editor]

FLOWER = (220, 307)
"""(row, col) of the flower's heart."""
PETAL = (150, 300)
BESIDE = (60, 80)
"""Blurred green behind the flower."""
FLOWER_BOX = (66, 175, 362, 442)

BRUSH = re.search(r"<BrushLabels.*?</BrushLabels>", INTERFACE, re.DOTALL)[0]  # type: ignore[index]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = launch(playwright)
        yield running
        running.close()


@pytest.fixture(scope="module")
def flower() -> SamplePhoto:
    return next(photo for photo in load_samples() if photo.name == "flower")


@pytest.fixture
def open_task(stack: Stack, browser: Browser, flower: SamplePhoto) -> Iterator[MakeEditor]:
    """Opens the one task of a new project."""
    opened: list[Editor] = []

    def open_task(interface: str = INTERFACE, photo: bytes = flower.image_bytes) -> Editor:
        client = stack.label_studio
        fields = {"label_config": interface, "show_collab_predictions": False}
        project = client.create_project(title=f"browser {secrets.token_hex(4)}", **fields)["id"]
        client.upload(project, f"photo{flower.suffix}", photo)
        demo.ensure_backend(client, project, stack.config.backend_url)
        (task,) = client.tasks(project)
        opened.append(Editor(browser, stack, task["id"], project))
        opened[-1].open()
        return opened[-1]

    yield open_task
    for editor in opened:
        editor.page.context.close()


def shown(answer: Answer) -> Mask:
    """The mask of an answer with one region."""
    (region,) = regions(answer["result"])
    return region.mask()


def stored(stack: Stack, editor: Editor) -> dict[str, Mask]:
    """The masks of the newest annotation by their region's id."""
    annotation = max(stack.label_studio.task(editor.task)["annotations"], key=lambda one: one["id"])
    return {one.id: one.mask() for one in regions(annotation["result"], frozenset(PROMPT_CONTROLS))}


def overlap(mask: Mask, target: Mask) -> float:
    return float((mask & target).sum() / (mask | target).sum())


def drawn(photo: SamplePhoto) -> Mask:
    return polygon_to_mask(photo.objects[0].rings, *decode_image(photo.image_bytes).shape[:2])


def test_click_in_browser(stack: Stack, open_task: MakeEditor, flower: SamplePhoto) -> None:
    editor = open_task()
    editor.choose("include", LABEL)

    answer = editor.click(*FLOWER)

    assert shown(answer)[FLOWER]
    assert overlap(shown(answer), drawn(flower)) > 0.5
    assert editor.suggestions == 1

    editor.accept()
    assert len(editor.regions) == 1
    editor.submit()

    (annotation,) = stack.label_studio.task(editor.task)["annotations"]
    (region,) = [one for one in annotation["result"] if one["type"] == "brushlabels"]
    assert region["value"]["brushlabels"] == [LABEL]
    assert region["meta"]["model"] == stack.served_version()
    ((_, mask),) = stored(stack, editor).items()
    assert np.array_equal(mask, shown(answer))


def test_five_clicks__excluded_by_alt_and_by_control(stack: Stack, open_task: MakeEditor) -> None:
    editor = open_task()
    editor.choose("include", LABEL)
    editor.click(*FLOWER)
    editor.click(*PETAL)
    editor.click(*BESIDE, key="Alt")
    editor.choose("exclude", LABEL)
    editor.click(380, 500)
    editor.choose("include", LABEL)
    answer = editor.click(300, 330)

    assert answer["result"][0]["meta"]["prompts"] == 5
    assert [shown(answer)[place] for place in (FLOWER, BESIDE, (380, 500))] == [True, False, False]
    assert editor.suggestions == 1

    editor.accept()
    editor.submit()

    (mask,) = stored(stack, editor).values()
    assert np.array_equal(mask, shown(answer))
