import pytest

from maskloop.clicks import Click
from pipelines.quality.config import QualityConfig
from pipelines.quality.pointing import check_clicks, distances
from tests.pipelines.quality.masks import item, square

CONFIG = QualityConfig()
ON, NEAR, FAR = (20, 20, 1), (20, 31, 1), (50, 70, 1)
BESIDE, INSIDE = (50, 70, 0), (20, 20, 0)


def test_distances__to_the_right_side_of_the_border():
    mask = square(10, 10)
    clicks = [Click(20, 20), Click(10, 35), Click(0, 0, False), Click(10, 10, False), Click(19, 19, False)]
    assert distances(mask, clicks) == pytest.approx([0, 6, 0, 1, 10])


def test_distances__the_border_of_the_image_is_one_of_the_mask():
    assert distances(square(0, 0), [Click(0, 5, False)]) == pytest.approx([1])


@pytest.mark.parametrize(
    "clicks", [[], [ON], [NEAR], [ON, FAR], [ON, BESIDE], [BESIDE], [ON, INSIDE], [ON, INSIDE, BESIDE]]
)
def test_check_clicks__kept(clicks):
    assert check_clicks(item(clicks=clicks), CONFIG) is None


@pytest.mark.parametrize(
    ("clicks", "said"),
    [
        ([FAR], "far from every click on the object: 1 of 1"),
        ([FAR, BESIDE], "far from every click on the object: 1 of 2"),
        ([ON, FAR, INSIDE], "contradicts most of its clicks: 2 of 3"),
    ],
)
def test_check_clicks__set_aside(clicks, said):
    finding = check_clicks(item(clicks=clicks), CONFIG)
    assert finding.reason == "clicks"
    assert said in finding.detail


def test_check_clicks__value_is_the_farthest():
    assert check_clicks(item(clicks=[(10, 49, 1)]), CONFIG).value == pytest.approx(20)
