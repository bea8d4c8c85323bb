"""The shipped checkpoint puts sensible masks under clicks on ordinary photos.

The bounds are well below what was measured (CHANGELOG.md): they catch a checkpoint that is broken, not one
that is a little worse.
"""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.sample_photos import measure
from maskloop.checkpoint import WEIGHTS
from maskloop.evaluation import ObjectResult

FOLDER = Path(__file__).parents[1] / "checkpoints/default"


@pytest.fixture(scope="module")
def results() -> list[ObjectResult]:
    return measure(FOLDER)


def test_first_click(results: list[ObjectResult]) -> None:
    assert np.mean([result.ious[0] for result in results]) > 0.5
    assert next(result.ious[0] for result in results if result.image_id == "flower") > 0.9


def test_fifth_click(results: list[ObjectResult]) -> None:
    assert np.mean([result.ious[4] for result in results]) > 0.8


def test_size() -> None:
    assert (FOLDER / WEIGHTS).stat().st_size < 15e6
