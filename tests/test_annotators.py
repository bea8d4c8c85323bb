import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskloop import clicks as core
from maskloop.annotators import (
    Annotator,
    CentreAnnotator,
    NoisyAnnotator,
    RealisticAnnotator,
    squared_depth,
)
from maskloop.clicks import Click, next_click
from maskloop.datasets import Sample
from maskloop.errors import EvaluationError

EMPTY = np.zeros((30, 40), bool)
CENTRE = Click(10, 12, positive=True)  # of the target


def sample(image_id: str = "a", ignore: np.ndarray | None = None) -> Sample:
    target = EMPTY.copy()
    target[5:16, 7:18] = True
    return Sample(image_id, np.zeros((30, 40, 3), np.uint8), target, ignore, "thing")


def first_clicks(annotator: Annotator, count: int) -> list[Click]:
    """First clicks on many objects that look alike."""
    clicks = [annotator.click(EMPTY, sample(str(number)), []) for number in range(count)]
    assert None not in clicks
    return clicks


@pytest.mark.parametrize("annotator", [CentreAnnotator(), NoisyAnnotator(0)])
def test_click__without_noise_is_the_ideal_one(annotator: Annotator) -> None:
    wrong = EMPTY.copy()
    wrong[0:29, 20:40] = True
    assert annotator.click(EMPTY, sample(), []) == CENTRE
    assert annotator.click(wrong, sample(), [CENTRE]) == next_click(wrong, sample().mask, None, [CENTRE])


@pytest.mark.parametrize("annotator", [CentreAnnotator(), NoisyAnnotator(3), RealisticAnnotator()])
def test_click__nothing_left_to_correct(annotator: Annotator) -> None:
    assert annotator.click(sample().mask, sample(), [CENTRE]) is None


@pytest.mark.parametrize("make", [lambda seed: NoisyAnnotator(5, seed), RealisticAnnotator])
def test_click__depends_on_seed_object_and_number_alone(make) -> None:
    first = make(0).click(EMPTY, sample(), [])
    others = [
        make(1).click(EMPTY, sample(), []),
        make(0).click(EMPTY, sample("b"), []),
        make(0).click(EMPTY, sample(), [Click(20, 30, positive=False)]),
    ]
    assert make(0).click(EMPTY, sample(), []) == first
    assert first not in others
    assert len(set(others)) == 3


def test_noisy__shifts_are_uniform_whole_pixels() -> None:
    clicks = first_clicks(NoisyAnnotator(1), 900)
    offsets, counts = np.unique(
        [(click.row - CENTRE.row, click.col - CENTRE.col) for click in clicks], axis=0, return_counts=True
    )
    assert offsets.tolist() == [[row, col] for row in (-1, 0, 1) for col in (-1, 0, 1)]
    assert counts.min() > 70  # 100 expected, standard deviation 9.4
    assert counts.max() < 130


def test_noisy__stays_in_the_image_and_keeps_the_sign() -> None:
    clicks = first_clicks(NoisyAnnotator(100), 50)
    assert all(0 <= click.row < 30 and 0 <= click.col < 40 and click.positive for click in clicks)
    assert {click.row for click in clicks} >= {0, 29}
    wrong = ~sample().mask
    assert not NoisyAnnotator(100).click(wrong | sample().mask, sample(), []).positive


def test_noisy__negative_width() -> None:
    with pytest.raises(EvaluationError, match="miss by -1 pixels"):
        NoisyAnnotator(-1)


def test_realistic__more_often_the_farther_from_the_edge() -> None:
    rings = [
        max(abs(click.row - 10), abs(click.col - 12)) for click in first_clicks(RealisticAnnotator(), 600)
    ]
    # a square of side 11: ring r has 8 r pixels at distance 6 - r, of 1 * 6 + sum over r of 8 r (6 - r) = 286
    expected = [6 / 286, *(8 * ring * (6 - ring) / 286 for ring in range(1, 6))]
    observed = np.bincount(rings, minlength=6) / 600
    np.testing.assert_allclose(observed, expected, atol=0.06)


def test_realistic__clicks_the_larger_error_only() -> None:
    wrong = EMPTY.copy()
    wrong[18:21, 30:33] = True  # smaller than the missed target
    clicks = [RealisticAnnotator().click(wrong, sample(str(number)), []) for number in range(50)]
    assert all(click.positive and sample().mask[click.row, click.col] for click in clicks)
    mask = wrong | sample().mask
    clicks = [RealisticAnnotator().click(mask, sample(str(number)), []) for number in range(50)]
    assert all(not click.positive and wrong[click.row, click.col] for click in clicks)
    assert len(set(clicks)) == 9


def test_realistic__no_ignored_pixel_and_none_twice() -> None:
    ignore = EMPTY.copy()
    ignore[5:16, 9:18] = True  # two columns are left of the target
    clicks: list[Click] = []
    while (click := RealisticAnnotator().click(EMPTY, sample(ignore=ignore), clicks)) is not None:
        clicks.append(click)
    assert {(click.row, click.col) for click in clicks} == {(r, c) for r in range(5, 16) for c in (7, 8)}
    assert len(clicks) == 22


@pytest.mark.parametrize(
    "annotator, expected",
    [
        (CentreAnnotator(), {"name": "centre"}),
        (NoisyAnnotator(3, seed=7), {"name": "noisy", "pixels": 3, "seed": 7}),
        (RealisticAnnotator(2), {"name": "realistic", "seed": 2}),
    ],
)
def test_describe(annotator: Annotator, expected: dict) -> None:
    assert annotator.describe() == expected


def _blotches(height: int, width: int, share: float, blur: int, seed: int) -> np.ndarray:
    """A mask of this share of the pixels, from salt and pepper to a few large blotches."""
    noise = np.random.default_rng(seed).random((height, width))
    smooth = cv2.blur(noise, (blur, blur))
    return smooth >= np.quantile(smooth, share)


masks = st.builds(
    _blotches,
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    share=st.floats(0, 1),
    blur=st.sampled_from([1, 5, 15, 41]),
    seed=st.integers(0, 2**32 - 1),
)


@settings(max_examples=200, deadline=None)
@given(masks)
def test_squared_depth__the_same_integers_as_without_opencv(region: np.ndarray) -> None:
    found = squared_depth(region)
    assert found.dtype == core.squared_depth(region).dtype
    np.testing.assert_array_equal(found, core.squared_depth(region))


def test_squared_depth__large_region() -> None:
    # the deepest row is 2001 pixels from either side, where squares of floats are hardest to tell apart
    depth = squared_depth(np.ones((4001, 4400), bool))
    rows = np.arange(4001)
    np.testing.assert_array_equal(depth[:, 2200], np.minimum(rows + 1, 4001 - rows) ** 2)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_centre__the_same_clicks_as_without_opencv(height: int, width: int, seed: int) -> None:
    target, prediction, ignore = (
        _blotches(height, width, share, 9, seed + number) for number, share in enumerate((0.5, 0.5, 0.9))
    )
    item = Sample("a", np.zeros((height, width, 3), np.uint8), target, ignore, "")
    clicks: list[Click] = []
    for _ in range(5):
        click = CentreAnnotator().click(prediction, item, clicks)
        assert click == next_click(prediction, target, ignore, clicks)
        if click is None:
            return
        clicks.append(click)
