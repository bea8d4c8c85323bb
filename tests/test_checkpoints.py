"""The shipped checkpoints put sensible masks under clicks on ordinary photos.

The bounds are well below what was measured (CHANGELOG.md): they catch a checkpoint that is broken, not one
that is a little worse.
"""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.sample_photos import measure
from maskloop.checkpoint import CONFIG, WEIGHTS, load_checkpoint
from maskloop.evaluation import ObjectResult

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"
BYTES = {"default": 15e6, "small": 7e6, "strong": 20e6}


@pytest.fixture(scope="module", params=BYTES)
def folder(request: pytest.FixtureRequest) -> Path:
    return CHECKPOINTS / str(request.param)


@pytest.fixture(scope="module")
def results(folder: Path) -> list[ObjectResult]:
    return measure(folder)


def test_first_click(results: list[ObjectResult]) -> None:
    assert np.mean([result.ious[0] for result in results]) > 0.5
    assert next(result.ious[0] for result in results if result.image_id == "flower") > 0.9


def test_fifth_click(results: list[ObjectResult]) -> None:
    assert np.mean([result.ious[4] for result in results]) > 0.8


def test_size_and_name(folder: Path) -> None:
    assert (folder / WEIGHTS).stat().st_size < BYTES[folder.name]
    assert load_checkpoint(folder).name == folder.name


def test_every_checkpoint_has_a_card() -> None:
    assert {path.parent.name for path in CHECKPOINTS.glob(f"*/{CONFIG}")} == set(BYTES)
    for name in BYTES:
        assert f"# Model card: checkpoints/{name}" in (CHECKPOINTS / name / "README.md").read_text()
