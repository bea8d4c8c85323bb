import numpy as np

from maskloop.clicks import Click
from maskloop.merging import merge_correction


def square(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((60, 80), bool)
    mask[top:bottom, left:right] = True
    return mask


BODY = square(20, 20, 40, 60)


def test_merge_correction__negative_takes_away_its_piece_alone():
    after = BODY & ~square(20, 20, 30, 30) & ~square(32, 50, 40, 60)  # two pieces are gone
    merged = merge_correction(BODY, after, Click(24, 24, positive=False))
    np.testing.assert_array_equal(merged, BODY & ~square(20, 20, 30, 30))


def test_merge_correction__positive_adds_and_takes_nothing_away():
    after = square(20, 40, 40, 75)  # the left half is lost, and something is added on the right
    merged = merge_correction(BODY, after, Click(30, 70))
    np.testing.assert_array_equal(merged, BODY | square(20, 60, 40, 75))


def test_merge_correction__border_that_moves_by_a_pixel_stays():
    after = square(19, 19, 41, 61) | square(10, 30, 20, 40)  # a pixel more all round, and a bump
    merged = merge_correction(BODY, after, Click(14, 35))
    assert merged[10:20, 30:40].all()
    # what is added lies at the bump; the border far from it is as it was
    np.testing.assert_array_equal(np.argwhere(merged & ~BODY).max(axis=0) < (21, 45), [True, True])
    np.testing.assert_array_equal(merged[24:], BODY[24:])


def test_merge_correction__thin_piece():
    thread = square(5, 30, 20, 31)
    merged = merge_correction(BODY, BODY | thread, Click(10, 30))
    np.testing.assert_array_equal(merged & thread & square(9, 0, 12, 80), thread & square(9, 0, 12, 80))


def test_merge_correction__click_that_agrees():
    assert merge_correction(BODY, square(0, 0, 60, 80), Click(30, 30)) is BODY


def test_merge_correction__network_that_does_not_follow():
    np.testing.assert_array_equal(merge_correction(BODY, BODY, Click(5, 5)), BODY)
