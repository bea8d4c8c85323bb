import numpy as np
import pytest
import torch
from torch.nn import functional as F

from maskloop.canvas import Canvas, Patch
from maskloop.crops import Crop, Window

GENERATOR = np.random.default_rng(0)
HEIGHT, WIDTH = 300, 400


def patch(crop: Crop) -> Patch:
    return Patch.of(crop, GENERATOR.random((crop.height, crop.width), dtype=np.float32))


def blob(crop: Crop, rows: slice, cols: slice) -> Patch:
    values = np.zeros((crop.height, crop.width), np.float32)
    values[rows, cols] = 1
    return Patch.of(crop, values)


def reference(canvas: Canvas) -> np.ndarray:
    """The canvas pixel by pixel, as torch resizes."""
    plane = np.zeros((canvas.height, canvas.width), np.float32)
    for one in canvas.patches:
        layer = np.zeros_like(plane)
        values = torch.from_numpy(one.values)[None, None]
        resized = F.interpolate(values, one.crop.window.size, mode="bilinear")
        layer[one.crop.window.slices] = resized[0, 0].numpy()
        plane[one.window.slices] = layer[one.window.slices]
    return plane


CANVASES = {
    "empty": Canvas(HEIGHT, WIDTH),
    "plane": Canvas.of(GENERATOR.random((HEIGHT, WIDTH), dtype=np.float32)),
    "whole": Canvas(HEIGHT, WIDTH).painted(patch(Crop(0, 0, HEIGHT, WIDTH, 64, 96))),
    "two": Canvas(HEIGHT, WIDTH)
    .painted(patch(Crop(0, 0, HEIGHT, WIDTH, 64, 96)))
    .painted(patch(Crop(51, 60, 158, 222, 64, 96))),
    # as the focus protocol paints; the last is smaller than what the network saw, and reaches the border
    "three": Canvas(HEIGHT, WIDTH)
    .painted(patch(Crop(0, 0, HEIGHT, WIDTH, 64, 96)))
    .painted(patch(Crop(51, 60, 258, 322, 64, 96)))
    .painted(patch(Crop(200, 290, 248, 400, 64, 128))),
    "clipped": Canvas(HEIGHT, WIDTH)
    .painted(patch(Crop(0, 0, HEIGHT, WIDTH, 64, 96)))
    .painted(patch(Crop(51, 60, 158, 222, 64, 96)))
    .clipped(Window(-3, 80, 120, 300)),
}


@pytest.fixture(params=CANVASES)
def canvas(request: pytest.FixtureRequest) -> Canvas:
    return CANVASES[request.param]


def test_render__as_torch_resizes(canvas: Canvas) -> None:
    expected = reference(canvas)
    np.testing.assert_allclose(canvas.render(), expected, atol=1e-4)
    window = Window(40, 55, 170, 230)
    np.testing.assert_allclose(canvas.render(window), expected[window.slices], atol=1e-4)


@pytest.mark.parametrize(
    "crop",
    [Crop(0, 0, HEIGHT, WIDTH, 64, 96), Crop(30, 70, 180, 399, 96, 64), Crop(60, 70, 90, 110, 64, 96)],
)
def test_view__as_if_rendered_and_resized(canvas: Canvas, crop: Crop) -> None:
    window = torch.from_numpy(np.ascontiguousarray(reference(canvas)[crop.window.slices]))[None, None]
    expected = F.interpolate(window, (crop.height, crop.width), mode="bilinear", antialias=True)
    view = canvas.view(crop)
    assert view.shape == (1, 1, crop.height, crop.width)
    assert view.dtype == torch.float32
    np.testing.assert_allclose(view, expected, atol=1e-4)


@pytest.mark.parametrize("threshold", [0.49, 0.9, 0.99999])
def test_above_and_extent__as_of_all_pixels(canvas: Canvas, threshold: float) -> None:
    mask = canvas.render() > threshold
    np.testing.assert_array_equal(canvas.above(threshold), mask)
    rows, cols = np.nonzero(mask)
    expected = Window(rows.min(), cols.min(), rows.max() + 1, cols.max() + 1) if rows.size else None
    assert canvas.extent(threshold) == expected


@pytest.mark.parametrize(
    "crop", [Crop(0, 0, HEIGHT, WIDTH, 64, 96), Crop(13, 20, 70, 91, 64, 96), Crop(7, 8, 20, 300, 64, 96)]
)
@pytest.mark.parametrize(
    ("rows", "cols"), [(slice(5, 9), slice(7, 8)), (slice(0, 1), slice(95, 96)), (slice(63, 64), slice(0, 5))]
)
def test_support__holds_all_and_little_else(crop: Crop, rows: slice, cols: slice) -> None:
    canvas = Canvas(HEIGHT, WIDTH).painted(blob(crop, rows, cols))
    support = canvas.support(0.01)
    assert support is not None
    outside = canvas.render() > 0.01
    outside[support.slices] = False
    assert not outside.any()
    # half a cell on either side, and rounding
    assert support.size[0] <= (rows.stop - rows.start + 1) * crop.window.size[0] / crop.height + 2


def test_painted__hidden_patches_are_dropped() -> None:
    first, second = patch(Crop(10, 10, 50, 50, 32, 32)), patch(Crop(60, 60, 90, 90, 32, 32))
    both = Canvas(HEIGHT, WIDTH).painted(first).painted(second)
    assert both.patches == (first, second)
    assert both.nbytes == 2 * 32 * 32 * 4
    whole = patch(Crop(0, 0, HEIGHT, WIDTH, 64, 96))
    assert both.painted(whole).patches == (whole,)


def test_averaged__as_fine_as_the_topmost() -> None:
    fine = patch(Crop(0, 0, HEIGHT, WIDTH, 150, 200))
    slope = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (48, 1))
    coarse = Patch.of(Crop(0, 0, HEIGHT, WIDTH, 48, 64), slope)
    mean = Canvas(HEIGHT, WIDTH).painted(fine).averaged(coarse)
    (only,) = mean.patches
    assert only.crop == fine.crop
    pixels = [Canvas(HEIGHT, WIDTH).painted(one).render() for one in (fine, coarse)]
    np.testing.assert_allclose(mean.render(), (pixels[0] + pixels[1]) / 2, atol=0.01)


def test_any() -> None:
    crop = Crop(0, 0, HEIGHT, WIDTH, 64, 96)
    assert not Canvas(HEIGHT, WIDTH).any()
    assert not Canvas(HEIGHT, WIDTH).painted(blob(crop, slice(0, 0), slice(0, 0))).any()
    assert Canvas(HEIGHT, WIDTH).painted(blob(crop, slice(3, 4), slice(5, 6))).any()


def test_of__takes_any_kind_of_mask_and_does_not_copy() -> None:
    plane = np.zeros((3, 4), np.float32)
    assert np.shares_memory(Canvas.of(plane).render(), plane)
    mask = np.eye(3, 4, dtype=bool)
    np.testing.assert_array_equal(Canvas.of(mask).render(), mask.astype(np.float32))
