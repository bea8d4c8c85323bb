"""The learning curve: what it reads of checkpoints, and its fit on clicks that follow the law exactly."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.recipe_curve import Curve, Point, draw, measure, read_point, samples_behind, summary
from maskloop.checkpoint import load_checkpoint, save_checkpoint
from maskloop.clicks import Click
from maskloop.datasets import open_dataset
from maskloop.errors import EvaluationError
from maskloop.results import ObjectResult, Report
from tests.test_training import small_model, write_discs

SAMPLES = (1000, 2000, 8000)
FROM_IMAGENET = {"start": "ImageNet", "samples_before": 0}


def report(clicks: Sequence[int], images: Sequence[str] | None = None) -> Report:
    """Objects that reach IoU 0.9 by so many clicks."""
    images = images or [f"image{number}" for number in range(len(clicks))]
    objects = [
        ObjectResult(
            image_id=image,
            category="",
            height=8,
            width=8,
            area=4,
            ious=(0.0,) * (count - 1) + (1.0,) * (21 - count),
            seconds=(0.1,) * count,
            clicks=(Click(1, 1),) * count,
            boundary_iou=1.0,
            masks={},
        )
        for image, count in zip(images, clicks, strict=True)
    ]
    return Report("model", "data", {"name": "centre"}, tuple(objects))


def halving() -> Curve:
    """1 + 8, 1 + 4, 1 + 1 clicks: what is beyond the first one is halved by each doubling."""
    return Curve.of(SAMPLES, [report([count] * 4) for count in (9, 5, 2)], "noc90")


def test_curve__law_that_holds_exactly() -> None:
    curve = halving()
    assert curve.exponent().mean == pytest.approx(1)
    assert curve.misfit() == pytest.approx(0, abs=1e-9)
    assert curve.at(4000).mean == pytest.approx(3)
    gain = curve.next_doubling()
    assert (gain.mean, gain.low, gain.high) == pytest.approx((-0.5, -0.5, -0.5))


def test_curve__interval_is_of_images_drawn_alike_for_all_points() -> None:
    # an image twice as hard as the other at every point: the gain in percent is the same whichever is drawn
    hard = [report([3, 5]), report([2, 3])]
    curve = Curve.of((1000, 2000), hard, "noc90")
    exponent = curve.exponent()
    assert exponent.low == pytest.approx(exponent.mean) and exponent.high == pytest.approx(exponent.mean)
    assert curve.at(1000).low == pytest.approx(3)
    assert curve.at(1000).high == pytest.approx(5)


def test_curve__objects_of_one_image_are_drawn_together() -> None:
    one = Curve.of((1000, 2000), [report([2, 8], ["a#1", "a#2"]), report([2, 4], ["a#1", "a#2"])], "noc90")
    assert np.unique(one.drawn[:, 0]).tolist() == [5]


def test_curve__what_makes_none() -> None:
    with pytest.raises(EvaluationError, match="1 point makes no curve"):
        Curve.of([1000], [report([2])], "noc90")
    with pytest.raises(EvaluationError, match="not the same in the same order"):
        Curve.of([1000, 2000], [report([2]), report([2, 3])], "noc90")


def test_summary__and_picture(tmp_path: Path) -> None:
    curves = {"noc85": halving(), "noc90": halving()}
    lines = summary([Point(count, tmp_path) for count in SAMPLES], curves).splitlines()
    assert lines[2] == "| 1,000 | 9.00 [9.00, 9.00] | 9.00 [9.00, 9.00] |"
    assert lines[-1] == (
        "NoC@90: exponent 1.00 [1.00, 1.00], at most 0.00 clicks off; from 8,000 to 16,000 samples"
        " -0.50 [-0.50, -0.50] clicks, -25.0 %"
    )
    draw(curves, tmp_path / "curve.svg")
    assert "NoC@90" in (tmp_path / "curve.svg").read_text()


def checkpoint(folder: Path, origin: dict[str, Any], steps: int) -> Path:
    told = origin | {"config": {"batch": 12}, "steps_done": steps}
    save_checkpoint(small_model(), folder, "small", told)
    return folder


def test_samples_behind__with_those_of_the_start(tmp_path: Path) -> None:
    first = checkpoint(tmp_path / "first", FROM_IMAGENET, 100)
    second = checkpoint(tmp_path / "second", load_checkpoint(first).origin(), 50)
    assert (samples_behind(first), samples_behind(second)) == (1200, 1800)
    assert read_point(str(second)) == Point(1800, second)
    assert read_point(f"7={second}") == Point(7, second)


def test_read_point__mistakes(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="'many=x' has no number of samples; write it as 19200=DIR"):
        read_point("many=x")
    save_checkpoint(small_model(), tmp_path, "small", {})
    with pytest.raises(EvaluationError, match="does not tell its samples; write SAMPLES="):
        read_point(str(tmp_path))


def test_measure__once(tmp_path: Path) -> None:
    samples = open_dataset("parquet", write_discs(tmp_path), limit=1)
    point = Point(1200, checkpoint(tmp_path / "first", FROM_IMAGENET, 100))
    first = measure([point], samples, "discs", tmp_path / "out", 0)
    (tmp_path / "out" / "curve.csv").unlink()
    assert measure([point], samples, "discs", tmp_path / "out", 0) == first
    assert (tmp_path / "out" / "curve.csv").read_text().startswith("samples,model,objects,noc85,")
