import math
from dataclasses import replace

import numpy as np
import pytest

from maskloop.errors import EvaluationError
from maskloop.intervals import Interval, bootstrap, difference, interval, slices, studentised
from maskloop.results import Report
from tests.test_results import report, result


def two_images(*extra) -> Report:
    return report(result((0.5, 0.96), "a"), result((0.95, 0.95), "b"), *extra)


def test_bootstrap__two_images_by_hand() -> None:
    # the means of two draws from {0, 1} are 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4
    assert bootstrap([0, 1], ["a", "b"]) == Interval(0.5, 0, 1)
    assert bootstrap([0, 1], ["a", "b"], level=0.4) == Interval(0.5, 0.5, 0.5)


def test_bootstrap__objects_of_an_image_are_drawn_together() -> None:
    # a is three objects, so (a, b) has the mean 1/4; drawing single objects would give 1/2 now and then
    values, images = [0, 0, 0, 1], ["a", "a", "a", "b"]
    assert bootstrap(values, images, level=0.4) == Interval(0.25, 0.25, 0.25)
    assert bootstrap(values, images) == Interval(0.25, 0, 1)


def test_bootstrap__is_as_wide_as_the_standard_error() -> None:
    # 0 and 1 in equal parts, 400 images: standard error 0.025, 1.96 of them either way
    found = bootstrap([0, 1] * 200, [str(number) for number in range(400)])
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.025, rel=0.1)


def test_bootstrap__seed() -> None:
    values, images = [number**2 for number in range(30)], [str(number) for number in range(30)]
    assert bootstrap(values, images, seed=3) == bootstrap(values, images, seed=3)
    assert bootstrap(values, images, seed=3) != bootstrap(values, images, seed=4)


def test_bootstrap__one_image_has_no_interval() -> None:
    found = bootstrap([1, 2], ["a", "a"])
    assert found.mean == 1.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_studentised__student_by_hand() -> None:
    # four images, mean 2.5, standard error sqrt(5/3)/2; Student's 0.975 quantile with 3 degrees is 3.182
    found = studentised([1, 2, 3, 4], ["a", "b", "c", "d"])
    half = 3.1824463 * math.sqrt(5 / 3) / 2
    assert found.mean == 2.5
    assert found.high >= 2.5 + half - 1e-6
    assert found.low <= 2.5 - half + 1e-6


def test_studentised__objects_of_an_image_are_one() -> None:
    single = studentised([0, 1, 0, 1], ["a", "b", "c", "d"])
    threefold = studentised([0, 1, 0, 1] * 3, ["a", "b", "c", "d"] * 3)
    assert threefold.high == pytest.approx(single.high)


def test_studentised__a_few_far_off_to_one_side() -> None:
    # nineteen a little below 0 and one far above: that another image is far above is not ruled out
    values, images = [*[-1.0, -1.2] * 9, -1.1, 9.0], [str(number) for number in range(20)]
    assert bootstrap(values, images).high < studentised(values, images).high
    assert studentised(values, images).high > 0.5


def test_studentised__certain_and_unknown() -> None:
    assert studentised([2, 2, 2], ["a", "b", "c"]) == Interval(2, 2, 2)
    assert math.isnan(studentised([1, 2], ["a", "a"]).high)


def test_studentised__holds_the_mean_of_ten_images_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    images = [str(number) for number in range(10)]
    missed = {bootstrap: 0, studentised: 0}
    for _ in range(300):
        values = random.normal(size=10)
        for method in missed:
            found = method(values, images, draws=300)
            missed[method] += not found.low <= 0 <= found.high
    assert missed[studentised] <= 0.08 * 300
    assert missed[bootstrap] > 0.08 * 300, "which is why there is another"


def test_interval__clicks_and_failures() -> None:
    assert interval(two_images(), "noc90") == Interval(1.5, 1, 2)
    assert interval(two_images(), "failed90") == Interval(0, 0, 0)
    assert interval(two_images(), "iou1") == Interval(0.725, 0.5, 0.95)


@pytest.mark.parametrize("name", ["noc91", "category"])
def test_interval__unknown_statistic(name: str) -> None:
    with pytest.raises(EvaluationError, match=rf"no statistic '{name}'; there are .*noc90"):
        interval(two_images(), name)


def test_difference__the_same_step_on_every_object_is_certain() -> None:
    better, worse = two_images(), two_images()
    worse = replace(worse, objects=tuple(replace(one, ious=(0.1, *one.ious[:1])) for one in worse.objects))
    # clicks to 0.95: better 2 and 1, worse none (2) and 2
    assert difference(better, worse, "noc95") == Interval(-0.5, -1, 0)
    shifted = replace(
        better, objects=tuple(replace(one, boundary_iou=one.boundary_iou + 0.25) for one in better.objects)
    )
    assert difference(shifted, better, "boundary_iou") == Interval(0.25, 0.25, 0.25)


def test_difference__other_objects() -> None:
    with pytest.raises(EvaluationError, match=r"on 2 objects, .* on 3, and they are not the same"):
        difference(two_images(), two_images(result((0.1, 0.1), "c")), "noc90")


def test_difference__other_number_of_clicks() -> None:
    with pytest.raises(EvaluationError, match=r"up to 2 clicks .* with up to 20 .* evaluate both alike"):
        difference(two_images(), replace(two_images(), max_clicks=20), "noc90")


def test_slices__category() -> None:
    frame = slices(
        two_images(result((0.1, 0.9), "b#1", category="dog")), "category", ["noc90", "boundary_iou"]
    )
    assert list(frame.index) == ["cat", "dog"]
    assert frame.loc["cat"].to_dict() == {
        "objects": 2,
        "images": 2,
        "noc90": 1.5,
        "noc90_low": 1,
        "noc90_high": 2,
        "boundary_iou": 0.5,
        "boundary_iou_low": 0.5,
        "boundary_iou_high": 0.5,
    }
    assert frame.loc["dog", "noc90"] == 2
    assert math.isnan(frame.loc["dog", "noc90_low"])


def test_slices__sizes_from_small_to_large() -> None:
    objects = [result((0.5,), str(area), area=area, height=500, width=500) for area in (10**4, 2000, 10, 20)]
    frame = slices(report(*objects), "size")
    assert frame["objects"].to_dict() == {"small": 2, "medium": 1, "large": 1}
    assert list(frame.index) == ["small", "medium", "large"]


def test_slices__unknown_part() -> None:
    with pytest.raises(EvaluationError, match="no column 'colour'"):
        slices(two_images(), "colour")
