import numpy as np
import pytest

from maskloop.clicks import Click
from maskloop.merging import merge_correction


def box(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((60, 100), bool)
    mask[top:bottom, left:right] = True
    return mask


BEFORE = box(10, 10, 50, 90)


def test_negative__takes_away_only_its_piece():
    near, far = box(20, 20, 30, 30), box(20, 60, 30, 70)
    merged = merge_correction(BEFORE, BEFORE & ~near & ~far, Click(25, 25, positive=False))
    np.testing.assert_array_equal(merged, BEFORE & ~near)


def test_negative__the_shifted_border_elsewhere_stays():
    shrunken = box(11, 11, 49, 89)
    bite = box(10, 10, 30, 30)
    merged = merge_correction(BEFORE, shrunken & ~bite, Click(20, 20, positive=False))
    assert not (merged & box(10, 10, 29, 29)).any()
    assert merged[:, 50:].tolist() == BEFORE[:, 50:].tolist()  # though a strip leads there along the border


def test_negative__adds_nothing():
    after = BEFORE & ~box(20, 20, 30, 30) | box(52, 20, 58, 30)
    merged = merge_correction(BEFORE, after, Click(25, 25, positive=False))
    assert not (merged & ~BEFORE).any()


def test_positive__adds_only_its_piece():
    near, far = box(50, 20, 58, 40), box(2, 60, 10, 80)
    merged = merge_correction(BEFORE, (BEFORE | near | far) & ~box(30, 30, 40, 40), Click(54, 30))
    np.testing.assert_array_equal(merged, BEFORE | near)


def test_positive__a_piece_apart():
    merged = merge_correction(box(5, 5, 20, 20), box(30, 60, 50, 90), Click(40, 75))
    np.testing.assert_array_equal(merged, box(5, 5, 20, 20) | box(30, 60, 50, 90))


def test_positive__empty_mask():
    np.testing.assert_array_equal(merge_correction(box(0, 0, 0, 0), BEFORE, Click(30, 50)), BEFORE)


@pytest.mark.parametrize("click", [Click(30, 50), Click(5, 5, positive=False)])
def test_agreement__gives_the_mask_itself(click):
    assert merge_correction(BEFORE, ~BEFORE, click) is BEFORE


@pytest.mark.parametrize("click", [Click(30, 50, positive=False), Click(5, 5)])
def test_the_network_ignores_the_click__nothing_changes(click):
    after = BEFORE & ~box(40, 70, 50, 90) | box(50, 70, 55, 90)
    np.testing.assert_array_equal(merge_correction(BEFORE, after, click), BEFORE)


def test_thin_correction__is_taken():
    hair = box(30, 40, 31, 60)  # one row of pixels, thinner than what joins pieces
    merged = merge_correction(BEFORE, BEFORE & ~hair, Click(30, 50, positive=False))
    assert not merged[30, 50]
    assert not (BEFORE & ~merged & ~hair).any()


@pytest.mark.parametrize("click", [Click(0, 0), Click(59, 99), Click(0.4, 98.6)])
def test_click_in_a_corner(click):
    assert merge_correction(BEFORE, np.ones_like(BEFORE), click)[round(click.row), round(click.col)]
