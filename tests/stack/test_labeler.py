import numpy as np
import pytest

from maskloop.clicks import Click
from maskloop.masks import decode_brush
from maskloop.metrics import intersection_over_union
from pipelines.data.samples import load_samples
from pipelines.stack.labeler import MOST_CLICKS, Labeler, painted, prompt
from pipelines.stack.project import LABEL, uploaded_name
from pipelines.stack.up import Stack


def test_prompt__centre_of_a_pixel_in_percent() -> None:
    region = prompt(Click(row=1, col=3), height=4, width=8)

    assert region["value"]["x"] == 43.75  # (3 + 0.5) / 8
    assert region["value"]["y"] == 37.5  # (1 + 0.5) / 4
    assert region["from_name"] == "include"


def test_prompt__negative_click_comes_from_exclude() -> None:
    assert prompt(Click(row=1, col=3, positive=False), height=4, width=8)["from_name"] == "exclude"


def test_painted() -> None:
    mask = np.array([[True, False, False], [True, True, False]])

    region = painted(mask)

    assert np.array_equal(decode_brush(region["value"]["rle"], 2, 3), mask)
    assert region["value"]["brushlabels"] == [LABEL]


def test_intersection_over_union() -> None:
    mask, target = np.array([[True, True, False]]), np.array([[False, True, True]])

    assert intersection_over_union(mask, target) == pytest.approx(1 / 3)
    assert intersection_over_union(mask & False, target & False) == 1.0


@pytest.mark.stack
def test_label__annotation_is_stored(stack: Stack) -> None:
    coins = next(photo for photo in load_samples() if photo.name == "coins")
    tasks = stack.label_studio.tasks(stack.project)
    task = next(one["id"] for one in tasks if uploaded_name(one) == f"coins{coins.suffix}")

    labelled = Labeler(stack.label_studio, stack.backend).label(task, coins)

    assert len(labelled) == len(coins.objects)
    assert all(1 <= one.clicks <= MOST_CLICKS for one in labelled)
    (annotation,) = stack.label_studio.task(task)["annotations"]
    assert [region["type"] for region in annotation["result"]] == ["brushlabels"] * len(coins.objects)
