"""The cascade's regions in training, against the predictor's and by hand."""

import pytest
import torch
from torch.nn import functional as F

from maskloop.clicks import Click, stack_clicks
from maskloop.crops import mask_extent, zoom_region
from maskloop.training.windows import Windows, zoom_windows

SIZE = 128


def boxes(*corners: tuple[int, int, int, int]) -> torch.Tensor:
    """Probability 1 inside top, left, bottom, right, an item each; (B, 1, SIZE, SIZE)."""
    probability = torch.zeros(len(corners), 1, SIZE, SIZE)
    for item, (top, left, bottom, right) in enumerate(corners):
        probability[item, 0, top:bottom, left:right] = 1
    return probability


def windows(*places: tuple[int, int, int]) -> Windows:
    return Windows(*torch.tensor(places).T)


def places(found: Windows) -> list[list[int]]:
    return torch.stack([found.top, found.left, found.side], dim=1).tolist()


def test_zoom_windows__by_hand() -> None:
    # 60 x 60 pixels: the box covers (59 / 128)² of the view, so it grows 1.4 times to 84 about its centre
    found = zoom_windows(boxes((34, 30, 94, 90)), torch.zeros(1, 1, 3))
    assert places(found) == [[22, 18, 84]]


@pytest.mark.parametrize(
    "box, clicks",
    [
        ((40, 40, 60, 70), []),
        ((0, 0, 20, 20), [Click(3, 3)]),
        ((100, 5, 128, 128), [Click(120, 8)]),
        ((60, 60, 64, 90), [Click(20, 70), Click(3, 3, positive=False)]),
        ((0, 0, 128, 128), []),
        ((70, 124, 72, 128), []),
    ],
)
def test_zoom_windows__hold_the_predictors_region(
    box: tuple[int, int, int, int], clicks: list[Click]
) -> None:
    probability = boxes(box)
    found = zoom_windows(probability, stack_clicks([clicks]))
    region = zoom_region(mask_extent((probability[0, 0] > 0.5).numpy()), (SIZE, SIZE), clicks, SIZE)
    [[top, left, side]] = places(found)
    assert side == max(region.bottom - region.top, region.right - region.left)
    assert 0 <= top <= region.top
    assert region.bottom <= top + side <= SIZE
    assert 0 <= left <= region.left
    assert region.right <= left + side <= SIZE


def test_zoom_windows__items_do_not_touch_each_other() -> None:
    alone = [(40, 40, 60, 70), (0, 0, 9, 100), (5, 6, 7, 8)]
    clicks = stack_clicks([[Click(90, 90)], [], [Click(4, 4, positive=False)]])
    together = zoom_windows(boxes(*alone), clicks)
    single = [zoom_windows(boxes(box), clicks[item : item + 1]) for item, box in enumerate(alone)]
    assert places(together) == [place for found in single for place in places(found)]


def test_zoom_windows__nothing_found_shows_everything() -> None:
    found = zoom_windows(torch.full((1, 1, SIZE, SIZE), 0.4), stack_clicks([[Click(20, 20)]]))
    assert places(found) == [[0, 0, SIZE]]


def test_crop__equals_resizing_the_cut_out() -> None:
    image = torch.rand(2, 3, SIZE, SIZE)
    found = windows((10, 30, 50), (0, 77, 51)).crop(image)
    for item, (top, left, side) in enumerate([(10, 30, 50), (0, 77, 51)]):
        cut = image[item : item + 1, :, top : top + side, left : left + side]
        wanted = F.interpolate(cut, (SIZE, SIZE), mode="bilinear", align_corners=False)
        assert torch.allclose(found[item], wanted[0], atol=1e-4)


def test_crop_labels__keeps_labels() -> None:
    labels = torch.randint(-1, 2, (1, SIZE, SIZE))
    found = windows((32, 16, 64)).crop_labels(labels)
    assert torch.equal(found[0], labels[0, 32:96, 16:80].repeat_interleave(2, 0).repeat_interleave(2, 1))


def test_clicks__follow_the_pixels() -> None:
    # twice as large: the centre of pixel 32, the window's first, comes between pixels 0 and 1
    found = windows((32, 16, 64)).clicks(torch.tensor([[[32.0, 17, 1], [10, 20, -1], [0, 0, 0]]]), SIZE)
    assert found.tolist() == [[[0.5, 2.5, 1], [-43.5, 8.5, -1], [-63.5, -31.5, 0]]]


def test_paste__is_the_inverse_of_crop() -> None:
    smooth = torch.linspace(0, 1, SIZE)[None, None, :, None] * torch.linspace(0, 1, SIZE)
    place = windows((40, 20, 64))
    pasted = place.paste(place.crop(smooth), torch.full_like(smooth, -1))
    inside = torch.zeros_like(smooth, dtype=torch.bool)
    inside[..., 40:104, 20:84] = True
    assert torch.allclose(pasted[inside], smooth[inside], atol=5e-3)
    assert (pasted[~inside] == -1).all()


def test_paste__whole_view_changes_nothing() -> None:
    result = torch.rand(1, 1, SIZE, SIZE)
    place = windows((0, 0, SIZE))
    assert torch.allclose(place.paste(place.crop(result), torch.zeros_like(result)), result, atol=1e-4)
