import numpy as np
import pytest

from maskloop.metrics import boundary_band, boundary_iou, intersection_over_union

EMPTY = np.zeros((12, 12), bool)  # 2 % of the diagonal is 0.34 pixels, so boundary bands are one pixel wide


def rectangle(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = EMPTY.copy()
    mask[top:bottom, left:right] = True
    return mask


def test_intersection_over_union__by_hand() -> None:
    assert intersection_over_union(rectangle(0, 0, 4, 4), rectangle(0, 2, 4, 6)) == 8 / 24


def test_intersection_over_union__ignored_pixels() -> None:
    ignore = rectangle(0, 4, 4, 6)
    assert intersection_over_union(rectangle(0, 0, 4, 4), rectangle(0, 2, 4, 6), ignore) == 8 / 16


def test_intersection_over_union__both_empty() -> None:
    assert intersection_over_union(EMPTY, EMPTY) == 1.0


def test_boundary_band__ring_of_a_square() -> None:
    band = boundary_band(rectangle(2, 2, 7, 7))
    assert band.sum() == 25 - 9
    assert not band[3:6, 3:6].any()


def test_boundary_band__the_image_border_is_outside() -> None:
    assert boundary_band(~EMPTY).sum() == 144 - 100


@pytest.mark.parametrize("shape, reach", [((30, 40), 1), ((60, 80), 2), ((90, 120), 3)])
def test_boundary_band__two_percent_of_the_diagonal(shape: tuple[int, int], reach: int) -> None:
    # diagonals 50, 100, 150
    interior = ~boundary_band(np.ones(shape, bool))
    assert interior.sum() == (shape[0] - 2 * reach) * (shape[1] - 2 * reach)


def test_boundary_iou__by_hand() -> None:
    # rings of 16 pixels about 5 x 5 squares, one column apart: the two upper and lower sides share 4 pixels
    # each; of the other columns, none lies on the other ring
    assert boundary_iou(rectangle(2, 2, 7, 7), rectangle(2, 3, 7, 8)) == 8 / 24


def test_boundary_iou__is_stricter_than_iou() -> None:
    mask, target = rectangle(1, 1, 10, 10), rectangle(1, 1, 11, 11)
    assert boundary_iou(mask, target) < intersection_over_union(mask, target)


def test_boundary_iou__anywhere_within_an_ignored_strip_is_right() -> None:
    target = rectangle(3, 3, 8, 8)
    ignore = rectangle(2, 2, 9, 9) & ~target
    assert boundary_iou(rectangle(2, 2, 9, 9), target, ignore) == 1.0
    assert boundary_iou(rectangle(2, 2, 9, 9), target) == 0.0  # without, the rings of 24 and 16 are apart


def test_boundary_iou__both_empty() -> None:
    assert boundary_iou(EMPTY, EMPTY) == 1.0
