import numpy as np
import pytest

from pipelines.quality.config import QualityConfig
from pipelines.quality.shapes import check_shape
from tests.pipelines.quality.masks import item, square

CONFIG = QualityConfig()


def speckled(count):
    """A square, and single pixels that touch nothing."""
    mask = square(30, 30)
    mask[:10:2, : 2 * (count // 5) : 2] = True
    return mask


@pytest.mark.parametrize(
    ("mask", "reason", "value"),
    [
        (np.zeros((60, 80), bool), "empty", 0),
        (square(10, 10, 3), "sliver", 9),
        (square(10, 10)[:, ::-1] & (np.arange(80) < 52), "sliver", 2),  # a strip of 20 x 2
        (speckled(10), "sliver", 10),
        (np.ones((60, 80), bool), "border", 1),
        (np.arange(80)[None] >= np.full((60, 1), 79), "border", 1),  # the last column
    ],
)
def test_check_shape__set_aside(mask, reason, value):
    finding = check_shape(item(mask), CONFIG)
    assert (finding.reason, finding.value) == (reason, pytest.approx(value))


@pytest.mark.parametrize(
    "mask",
    [
        square(10, 10),
        square(10, 10, 4),
        square(0, 0),  # cut off by the image, as objects are
        square(10, 10)[:, ::-1] & (np.arange(80) < 53),  # a strip of 20 x 3
        speckled(5),
        ~square(0, 0, 16),  # most of the image
    ],
)
def test_check_shape__kept(mask):
    assert check_shape(item(mask), CONFIG) is None


def test_check_shape__labels_that_are_thin_by_nature():
    strip = square(10, 10) & (np.arange(80) < 11)
    assert check_shape(item(strip), CONFIG).reason == "sliver"
    assert check_shape(item(strip), QualityConfig(thin=0)) is None
