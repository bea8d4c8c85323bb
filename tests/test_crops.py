import numpy as np
import pytest
import torch

from maskloop.clicks import Click
from maskloop.crops import (
    Crop,
    Window,
    focus_region,
    full_region,
    mask_extent,
    network_size,
    network_sizes,
    ritm_region,
    zoom_region,
)

MASK = np.zeros((300, 400), bool)


def with_box(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = MASK.copy()
    mask[top:bottom, left:right] = True
    return mask


def test_full_region__longer_side_and_multiples_of_32() -> None:
    assert full_region(480, 854, 320) == Crop(0, 0, 480, 854, 192, 320)


def test_zoom_region__empty_mask_is_the_full_image() -> None:
    assert zoom_region(mask_extent(MASK), MASK.shape, [Click(3, 3)], 320) == full_region(300, 400, 320)


def test_zoom_region__large_object_gets_1_4_times() -> None:
    crop = zoom_region(mask_extent(with_box(100, 100, 200, 250)), MASK.shape, [], 320)
    assert (crop.top, crop.bottom, crop.left, crop.right) == (80, 220, 70, 280)


def test_zoom_region__small_object_gets_more() -> None:
    crop = zoom_region(mask_extent(with_box(100, 100, 130, 130)), MASK.shape, [], 320)
    # factor 2.5 - 4 * sqrt(29 * 29 / 120000)
    assert (crop.bottom - crop.top, crop.right - crop.left) == (64, 64)


def test_zoom_region__positive_clicks_belong_negative_do_not() -> None:
    mask = with_box(100, 100, 130, 130)
    alone = zoom_region(mask_extent(mask), MASK.shape, [Click(5, 5, positive=False)], 320)
    assert alone == zoom_region(mask_extent(mask), MASK.shape, [], 320)
    assert zoom_region(mask_extent(mask), MASK.shape, [Click(250, 350)], 320).right > 350


def test_zoom_region__stays_inside_the_image() -> None:
    crop = zoom_region(mask_extent(with_box(0, 0, 40, 400)), MASK.shape, [], 320)
    assert crop.top == crop.left == 0
    assert crop.right == 400


def test_ritm_region__1_4_times_and_no_less_than_200_pixels() -> None:
    crop = ritm_region(mask_extent(with_box(100, 100, 280, 250)), MASK.shape, [], 320)
    # 180 rows become 252 about row 190, cut at the image's 300; 150 columns become 210 about column 175
    assert (crop.top, crop.bottom, crop.left, crop.right) == (64, 300, 70, 280)
    crop = ritm_region(mask_extent(with_box(140, 190, 160, 210)), MASK.shape, [], 320)
    assert (crop.top, crop.bottom, crop.left, crop.right) == (50, 250, 100, 300)


def test_ritm_region__empty_mask_is_the_full_image() -> None:
    assert ritm_region(mask_extent(MASK), MASK.shape, [Click(3, 3)], 320) == full_region(300, 400, 320)


def test_focus_region__as_wide_as_the_change() -> None:
    before = with_box(100, 100, 200, 200)
    after = with_box(100, 100, 200, 241)
    crop = focus_region(before, after, Click(150, 220), 320)
    # the farthest changed row is 50 rows away: twice 1.75 * 50 pixels and 48 more
    assert crop is not None
    assert (crop.bottom - crop.top, crop.right - crop.left) == (223, 223)
    assert abs((crop.left + crop.right) / 2 - 220.5) <= 1


def test_focus_region__nothing_changed() -> None:
    assert focus_region(MASK, MASK, Click(150, 220), 320) is None


@pytest.mark.parametrize("pixel", [(90, 80), (150, 200), (209, 269)])
def test_crop__clicks_follow_the_pixels(pixel: tuple[int, int]) -> None:
    """A bright pixel and a click on it are found at the same place of the network's input."""
    crop = Crop(80, 70, 220, 280, 140 * 2, 210 * 2)
    image = np.zeros((300, 400, 3), np.uint8)
    image[pixel] = 255
    click = crop.clicks([Click(*pixel)])[0]
    weight = crop.image(image)[0, 0].double()
    rows, cols = torch.arange(280.0, dtype=torch.double), torch.arange(420.0, dtype=torch.double)
    centre = ((weight.sum(1) * rows).sum() / weight.sum(), (weight.sum(0) * cols).sum() / weight.sum())
    assert (click.row, click.col) == pytest.approx(tuple(map(float, centre)), abs=0.3)


def test_mask_extent() -> None:
    assert mask_extent(with_box(10, 20, 30, 50)) == Window(10, 20, 30, 50)
    assert mask_extent(MASK) is None


def test_network_sizes__all_that_images_can_have() -> None:
    sizes = {network_size(height, width, 96) for height in range(1, 300, 7) for width in range(1, 300, 7)}
    assert sizes == network_sizes(96) == {(32, 96), (64, 96), (96, 96), (96, 64), (96, 32)}


def test_window__within() -> None:
    window = Window(10, 20, 30, 50)
    assert window.within(Window(0, 40, 15, 90)) == Window(10, 40, 15, 50)
    assert window.within(Window(30, 20, 40, 50)) is None
