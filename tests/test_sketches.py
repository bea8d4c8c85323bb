import base64
import zlib

import cv2
import numpy as np
import pytest

from maskloop.errors import MaskError
from maskloop.runs import Runs
from maskloop.sketches import CELLS, Sketch


def square(top, left, bottom, right, height=48, width=64):
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    return mask


def difference(answered, kept):
    """By way of the text, as it travels."""
    return Sketch.parse(str(Sketch.of(Runs.of(answered)))).difference(Runs.of(kept))


def truth(answered, kept):
    return 1 - (answered & kept).sum() / (answered | kept).sum()


def test_sketch__same_mask():
    for mask in (square(3, 4, 5, 7), square(0, 0, 48, 64), ~square(3, 4, 40, 50), square(7, 0, 8, 64)):
        assert difference(mask, mask) == 0


def test_sketch__small_mask_is_exact():
    assert difference(square(10, 10, 20, 20), square(10, 10, 20, 15)) == 0.5
    assert difference(square(10, 10, 20, 20), square(10, 10, 20, 30)) == 0.5
    assert difference(square(10, 10, 20, 20), square(10, 0, 20, 20)) == 0.5
    assert difference(square(10, 10, 20, 20), square(30, 30, 31, 31)) == 1
    assert difference(square(10, 10, 20, 20), square(0, 0, 0, 0)) == 1


def test_sketch__whole_cells_of_a_large_mask_are_exact():
    large = {"height": 480, "width": 640}
    answered = square(0, 0, 240, 240, **large)  # 24 cells of 10 pixels
    assert Sketch.of(Runs.of(answered)).cell == 10
    assert difference(answered, square(0, 0, 240, 120, **large)) == 0.5
    assert difference(answered, square(0, 0, 240, 480, **large)) == 0.5


def test_sketch__at_the_lower_right_corner_cells_reach_beyond_the_image():
    large = {"height": 100, "width": 100}
    answered = square(71, 50, 100, 100, **large)  # 10 rows of 3 pixels, 17 columns
    assert Sketch.of(Runs.of(answered)).shares.shape == (10, 17)
    assert difference(answered, answered) == 0
    assert difference(answered, square(71, 50, 98, 100, **large)) == pytest.approx(2 / 29, abs=0.003)


def test_sketch__thin_line_is_not_lost():
    line = np.eye(480, dtype=bool)
    assert difference(line, line) == 0
    assert difference(line, line[:, ::-1]) > 0.9


def test_sketch__is_near_the_truth_for_strokes_of_a_brush_and_never_above():
    generator = np.random.default_rng(0)
    errors = []
    for _ in range(200):
        centre, radius = (320, 240), int(generator.integers(30, 200))
        answered = cv2.circle(np.zeros((480, 640), np.uint8), centre, radius, 1, -1)
        angle, size = generator.uniform(0, 2 * np.pi), int(radius * generator.uniform(0.05, 0.5))
        place = (int(320 + radius * np.cos(angle)), int(240 + radius * np.sin(angle)))
        kept = cv2.circle(answered.copy(), place, size, int(generator.integers(2)), -1)
        answered, kept = answered.astype(bool), kept.astype(bool)
        errors.append(difference(answered, kept) - truth(answered, kept))
    assert max(errors) < 0.0005, "but for the rounding of shares"
    assert min(errors) > -0.003


def test_sketch__is_short():
    disc = cv2.circle(np.zeros((3000, 4000), np.uint8), (2000, 1500), 1400, 1, -1)
    checkered = np.indices((480, 480)).sum(axis=0) % 7 < 3
    for mask, characters in ((disc.astype(bool), 300), (checkered, 950)):
        assert len(str(Sketch.of(Runs.of(mask)))) < characters


def test_sketch__of_an_empty_mask():
    with pytest.raises(MaskError, match="empty"):
        Sketch.of(Runs.of(np.zeros((4, 4), bool)))


def cells(count, level=1):
    return base64.b64encode(zlib.compress(bytes([level]) * count)).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no sketch",
        "1:1:1:2:AAAA",
        "1:1:1:2:====",
        f"1:1:0:2:{cells(4)}",
        f"1:1:1:0:{cells(4)}",
        f"1:1:1:3:{cells(4)}",
        f"1:1:1:2:{cells(4, level=0)}",
        f"1:1:1:1:{cells(CELLS + 1)}",
        f"1:1:1:25:{cells(10**6)}",
        f"-1:1:1:2:{cells(4)}",
    ],
)
def test_parse__what_a_person_wrote_instead(text):
    with pytest.raises(MaskError, match="sketch"):
        Sketch.parse(text)


def test_difference__sketch_of_another_image():
    sketch = Sketch.parse(f"999999:999999:999999:2:{cells(4)}")
    assert sketch.difference(Runs.of(square(1, 1, 5, 5))) == 1


def test_runs__box_and_areas_before_are_those_of_the_pixels():
    generator = np.random.default_rng(1)
    for share in (0.02, 0.5, 0.98):
        for _ in range(50):
            mask = generator.random(generator.integers(1, 20, 2)) < share
            runs, places = Runs.of(mask), np.arange(mask.size + 1)
            np.testing.assert_array_equal(runs.area_before(places), np.append(0, np.cumsum(mask)))
            if mask.any():
                rows, columns = np.nonzero(mask)
                assert runs.box == (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
    assert Runs.of(np.zeros((2, 3), bool)).box == (0, 0, 0, 0)
