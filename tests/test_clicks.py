import numpy as np
import pytest
import torch

from maskloop.clicks import Click, check_clicks, disk_maps, next_click, stack_clicks
from maskloop.errors import ClickError

EMPTY = np.zeros((9, 11), bool)


def square(top: int, left: int, side: int) -> np.ndarray:
    mask = EMPTY.copy()
    mask[top : top + side, left : left + side] = True
    return mask


def test_next_click__first_is_most_interior() -> None:
    assert next_click(EMPTY, square(2, 3, 5)) == Click(4, 5, positive=True)


def test_next_click__ties_go_row_by_row() -> None:
    assert next_click(EMPTY, square(0, 0, 4)) == Click(1, 1, positive=True)


def test_next_click__larger_error_decides_the_sign() -> None:
    assert next_click(square(0, 5, 5), square(0, 0, 3)) == Click(2, 7, positive=False)


def test_next_click__equal_errors_are_negative() -> None:
    assert next_click(square(0, 8, 3), square(0, 0, 3)) == Click(1, 9, positive=False)


def test_next_click__ignored_pixels_are_left_out() -> None:
    target = square(0, 0, 3) | square(4, 4, 5)
    assert next_click(EMPTY, target, ignore=square(4, 4, 5)) == Click(1, 1, positive=True)


def test_next_click__no_pixel_twice() -> None:
    target = square(2, 2, 3)
    clicks: list[Click] = []
    while (click := next_click(EMPTY, target, clicked=clicks)) is not None:
        clicks.append(click)
    assert len(clicks) == len(set(clicks)) == 9


def test_next_click__nothing_wrong() -> None:
    assert next_click(square(1, 1, 3), square(1, 1, 3)) is None


def test_next_click__deterministic() -> None:
    target = np.random.default_rng(0).random((60, 80)) > 0.4
    assert next_click(np.zeros_like(target), target) == next_click(np.zeros_like(target), target)


@pytest.mark.parametrize("row, col", [(-1, 3), (9, 3), (3, -0.6), (3, 11), (float("nan"), 3)])
def test_check_clicks__outside(row: float, col: float) -> None:
    with pytest.raises(ClickError, match=r"click 2 .*outside the image of 9 rows and 11 columns"):
        check_clicks([Click(1, 1), Click(row, col)], 9, 11)


def test_stack_clicks__pads_with_empty_slots() -> None:
    stacked = stack_clicks([[Click(1, 2), Click(3, 4, positive=False)], []])
    assert stacked.tolist() == [[[1, 2, 1], [3, 4, -1]], [[0, 0, 0], [0, 0, 0]]]


def test_disk_maps__81_pixels_of_one_sign() -> None:
    positive, negative = disk_maps(stack_clicks([[Click(20, 20)]]), 40, 40)[0]
    assert positive.sum() == 81
    assert negative.sum() == 0
    assert positive[20, 25] == 1
    assert positive[20, 26] == 0


@pytest.mark.parametrize("row, col", [(-2, 10), (10, -2), (41, 10), (10, 41)])
def test_disk_maps__clicks_outside_draw_nothing(row: float, col: float) -> None:
    assert disk_maps(torch.tensor([[[row, col, 1.0]]]), 40, 40).sum() == 0
