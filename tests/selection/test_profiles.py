"""What is read off the answers to a few clicks."""

import numpy as np
import pytest

from maskloop.canvas import Canvas, Patch
from maskloop.crops import Crop
from maskloop.predictor import Prediction
from maskloop.selection import SIGNALS, ProbeConfig, profile
from tests.selection.striped import HEIGHT, WIDTH, Striped, image


def signals(one):
    return dict(zip(SIGNALS, one.probes.mean(axis=0), strict=True))


def test_profile__sure_of_half_the_image():
    found = signals(profile(Striped(), image(0)))
    assert found["confidence"] == pytest.approx(1)
    assert found["stability"] == found["passes"] == found["noise"] == 1
    assert found["entropy"] < -5
    assert found["area"] == pytest.approx(np.log(0.5))
    assert found["pieces"] == 0
    assert 0 < found["hit"] < 1  # the mask is the left half, and clicks are made everywhere


def test_profile__doubt_shows_in_confidence_and_entropy():
    sure, unsure = signals(profile(Striped(), image(20))), signals(profile(Striped(), image(80)))
    assert unsure["confidence"] == pytest.approx(0.6)
    assert unsure["entropy"] == pytest.approx(np.log(2 * 0.9710), abs=1e-3)  # bits of 0.6 and of 0.4
    assert sure["entropy"] < unsure["entropy"]
    assert unsure["stability"] == 0  # at 0.35 everything is inside, at 0.65 nothing
    assert sure["stability"] == 1


class Nothing(Striped):
    def _prediction(self, request):
        return Prediction(np.zeros(request.pixels.shape[:2], np.float32))


def test_profile__empty_answers_are_finite():
    found = profile(Nothing(), image(0))
    assert np.isfinite(found.probes).all()
    assert found.probes[:, SIGNALS.index("confidence")].max() == 0


class Twice(Striped):
    """The first pass finds the left quarter, the second all of the left half and more."""

    def _prediction(self, request):
        height, width = request.pixels.shape[:2]
        first = np.zeros((height, width), np.float32)
        first[:, : width // 4] = 1
        second = np.ones((height, width // 2), np.float32)
        canvas = Canvas.of(first).painted(
            Patch.of(Crop(0, 0, height, width // 2, height, width // 2), second)
        )
        return Prediction(canvas)


def test_profile__passes_that_disagree():
    assert signals(profile(Twice(), image(0)))["passes"] == pytest.approx(0.5, abs=0.05)


def test_profile__large_image_is_made_smaller():
    seen = []

    class Watching(Striped):
        def _prediction(self, request):
            seen.append(request.pixels.shape[:2])
            return super()._prediction(request)

    large = np.repeat(np.repeat(image(10), 4, axis=0), 4, axis=1)
    profile(Watching(), large, ProbeConfig(side=96))
    assert set(seen) == {(64, 96)}
    small = image(10)[:1, :5]
    assert np.isfinite(profile(Striped(), small).probes).all()


def test_profile__missed_clicks_stay_inside_and_near():
    clicks = []

    class Watching(Striped):
        def _prediction(self, request):
            clicks.append(request.clicks[0])
            return super()._prediction(request)

    profile(Watching(), image(0))
    meant, missed = clicks[::2], clicks[1::2]
    for one, other in zip(meant, missed, strict=True):
        assert 0.5 < np.hypot(one.row - other.row, one.col - other.col) <= 1.01
        assert 0 <= other.row < HEIGHT
        assert 0 <= other.col < WIDTH
