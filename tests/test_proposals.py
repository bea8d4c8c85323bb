"""Proposals by a segmenter whose masks are known."""

from collections.abc import Sequence

import numpy as np
import pytest

from maskloop.metrics import intersection_over_union
from maskloop.predictor import Prediction, Request
from maskloop.proposals import ProposalConfig, grid_clicks, propose, stability

HEIGHT, WIDTH = 80, 120
IMAGE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
LEFT, RIGHT = np.zeros((2, HEIGHT, WIDTH), bool)
LEFT[10:50, 10:40] = True
RIGHT[20:70, 70:110] = True


class Squares:
    """Finds the square that a click lies in, and is unsure of everything else."""

    def __init__(self, certainty: float = 0.95, blur: float = 0.1) -> None:
        self.certainty, self.blur = certainty, blur
        self.asked: list[int] = []

    def predict_batch(self, requests: Sequence[Request]) -> list[Prediction]:
        self.asked.append(len(requests))
        return [self._predict(request) for request in requests]

    def _predict(self, request: Request) -> Prediction:
        (click,) = request.clicks
        place = round(click.row), round(click.col)
        probability = np.full((HEIGHT, WIDTH), self.blur, np.float32)
        for square in (LEFT, RIGHT):
            if square[place]:
                probability[square] = self.certainty
        return Prediction(probability)


def test_propose__each_object_once():
    found = propose(Squares(), IMAGE)
    assert len(found) == 2
    assert {intersection_over_union(one.mask, LEFT) for one in found} == {0.0, 1.0}
    assert {intersection_over_union(one.mask, RIGHT) for one in found} == {0.0, 1.0}
    for one in found:
        assert one.mask[round(one.click.row), round(one.click.col)]
        assert one.score == pytest.approx(0.95)


def test_propose__batches_are_bounded():
    segmenter = Squares()
    propose(segmenter, IMAGE, ProposalConfig(batch=3))
    assert max(segmenter.asked) == 3


def test_propose__limit_and_area():
    assert len(propose(Squares(), IMAGE, ProposalConfig(limit=1))) == 1
    share = LEFT.mean()
    (larger,) = propose(Squares(), IMAGE, ProposalConfig(smallest=share + 0.01))
    assert (larger.mask == RIGHT).all()
    (smaller,) = propose(Squares(), IMAGE, ProposalConfig(largest=share + 0.01))
    assert (smaller.mask == LEFT).all()


def test_propose__unsure_masks_are_left_out():
    assert not propose(Squares(certainty=0.55), IMAGE)  # not confident
    assert not propose(Squares(blur=0.4), IMAGE)  # the mask at a low threshold is the whole image


def test_propose__mask_must_come_back_from_its_own_centre():
    class Fickle(Squares):
        def _predict(self, request: Request) -> Prediction:
            (click,) = request.clicks
            centre = round(click.col) in (24, 25)  # halfway between the left square's sides
            return Prediction(np.zeros((HEIGHT, WIDTH), np.float32)) if centre else super()._predict(request)

    (found,) = propose(Fickle(), IMAGE)
    assert (found.mask == RIGHT).all()


def test_propose__nothing_there():
    assert propose(Squares(certainty=0.1), IMAGE) == []


def test_grid_clicks__equal_cells_of_a_wide_image():
    clicks = grid_clicks(20, 40, grid=4)
    assert [(one.row, one.col) for one in clicks[:4]] == [(4.5, 4.5), (4.5, 14.5), (4.5, 24.5), (4.5, 34.5)]
    assert len(clicks) == 8
    assert len(grid_clicks(1, 40, grid=4)) == 4


def test_stability__share_of_pixels_that_stay():
    probability = np.array([[0.1, 0.5, 0.9, 0.9]], np.float32)
    assert stability(probability, (0.35, 0.65)) == pytest.approx(2 / 3)
    assert stability(np.zeros((2, 2), np.float32), (0.35, 0.65)) == 0
