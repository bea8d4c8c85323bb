"""A labeler's click in a real browser yields a mask, which is accepted, submitted and stored."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, sync_playwright

from maskloop.images import decode_image
from maskloop.masks import decode_brush, polygon_to_mask
from pipelines.samples import SamplePhoto, load_samples
from pipelines.stack.project import LABEL, uploaded_name
from pipelines.stack.up import Stack
from tests.stack.editor import Editor, launch

pytestmark = pytest.mark.stack

FLOWER = (220, 307)
"""(row, col) of the flower's heart."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = launch(playwright)
        yield running
        running.close()


@pytest.fixture
def flower() -> SamplePhoto:
    return next(photo for photo in load_samples() if photo.name == "flower")


@pytest.fixture
def task(stack: Stack, flower: SamplePhoto) -> int:
    tasks = stack.label_studio.tasks(stack.project)
    return next(one["id"] for one in tasks if uploaded_name(one) == f"flower{flower.suffix}")


def test_click_in_browser(
    stack: Stack, browser: Browser, task: int, flower: SamplePhoto, tmp_path: Path
) -> None:
    height, width = decode_image(flower.image_bytes).shape[:2]
    editor = Editor(browser, stack, task)
    editor.open()
    editor.choose("include", LABEL)

    answer = editor.click(*FLOWER)
    editor.page.screenshot(path=tmp_path / "suggestion.png")

    suggested = decode_brush(answer["result"][0]["value"]["rle"], height, width)
    drawn = polygon_to_mask(flower.objects[0].rings, height, width)
    assert suggested[FLOWER]
    assert (suggested & drawn).sum() / (suggested | drawn).sum() > 0.5
    assert editor.suggestions == 1

    editor.accept()
    assert editor.brushed_regions == 1
    editor.submit()
    editor.page.screenshot(path=tmp_path / "submitted.png")

    annotation = stack.label_studio.task(task)["annotations"][-1]
    regions = [one for one in annotation["result"] if one["type"] == "brushlabels"]
    assert len(regions) == 1
    assert regions[0]["value"]["brushlabels"] == [LABEL]
    assert regions[0]["meta"]["model"] == stack.served_version()
    assert np.array_equal(decode_brush(regions[0]["value"]["rle"], height, width), suggested)
