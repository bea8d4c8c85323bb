import numpy as np
import pytest

from maskloop.keyholes import join_rings
from maskloop.masks import mask_to_polygons, polygon_to_mask


def square(top: float, left: float, side: float) -> np.ndarray:
    bottom, right = top + side, left + side
    return np.array([[top, left], [top, right], [bottom, right], [bottom, left]])


def test_one_ring__is_itself():
    np.testing.assert_array_equal(join_rings([square(1, 2, 5)]), square(1, 2, 5))


def test_no_ring():
    with pytest.raises(ValueError, match="at least one ring"):
        join_rings([])


def test_hole__goes_there_and_back_by_the_nearest_corners():
    outer, hole = square(0, 0, 9), square(1, 1, 4)
    expected = [outer[0], *hole, hole[0], *outer]
    np.testing.assert_array_equal(join_rings([outer, hole]), np.array(expected))


def test_the_largest_comes_first_in_whatever_order():
    outer, hole = square(0, 0, 9), square(1, 1, 4)
    np.testing.assert_array_equal(join_rings([hole, outer]), join_rings([outer, hole]))


@pytest.mark.parametrize(
    "others", [[square(5, 5, 6)], [square(2, 2, 4), square(12, 12, 5)], [square(3, 40, 8), square(6, 43, 2)]]
)
def test_filled__as_the_rings_apart(others):
    rings = [square(0.5, 0.5, 20), *others]
    np.testing.assert_array_equal(
        polygon_to_mask([join_rings(rings)], 30, 60), polygon_to_mask(rings, 30, 60)
    )


@pytest.mark.parametrize("seed", range(20))
def test_noise__every_pixel_comes_back(seed):
    mask = np.random.default_rng(seed).random((9, 11)) > 0.6
    rings = [ring for piece in mask_to_polygons(mask) for ring in piece]
    np.testing.assert_array_equal(polygon_to_mask([join_rings(rings)], 9, 11), mask)
