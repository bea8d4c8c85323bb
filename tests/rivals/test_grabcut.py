import numpy as np

from maskloop.clicks import Click
from maskloop.evaluation import intersection_over_union
from maskloop.rivals import GrabCut

SQUARE = np.zeros((90, 120), bool)
SQUARE[30:60, 40:80] = True
NOISE = np.random.default_rng(0).integers(0, 20, (90, 120, 3))
IMAGE = (np.where(SQUARE[..., None], [200, 60, 40], [40, 80, 160]) + NOISE).astype(np.uint8)


def test_predict__coloured_square():
    mask = GrabCut().predict(IMAGE, [Click(45, 60)]).mask
    assert intersection_over_union(mask, SQUARE) > 0.95


def test_predict__same_arguments_same_mask():
    noise = np.random.default_rng(1).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    first = GrabCut().predict(noise, [Click(30, 40)]).probability
    np.testing.assert_array_equal(first, GrabCut().predict(noise, [Click(30, 40)]).probability)


def test_predict__negative_click_is_certain():
    clicks = [Click(45, 60), Click(45, 75, positive=False)]
    mask = GrabCut().predict(IMAGE, clicks, SQUARE.astype(np.float32)).mask
    assert mask[45, 60]
    assert not mask[45, 75]


def test_predict__large_image_comes_back_at_its_size():
    large = IMAGE.repeat(8, axis=0).repeat(8, axis=1)
    mask = GrabCut().predict(large, [Click(360, 480)]).mask
    assert mask.shape == (720, 960)
    assert intersection_over_union(mask, SQUARE.repeat(8, axis=0).repeat(8, axis=1)) > 0.9


def test_predict__image_of_one_colour():
    assert GrabCut().predict(np.zeros((40, 40, 3), np.uint8), [Click(5, 5)]).mask[5, 5]
