"""Confidence intervals of what was measured, by bootstrap over images.

Objects of one image are alike, so whole images are drawn, with all their objects; intervals are percentiles
of the mean over the draws, and `studentised` ones where few images must not claim too much. A statistic is a
column of `Report.to_frame`, such as `noc90`, `failed90`, `iou5` or `boundary_iou`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import stdtrit

from maskloop.errors import EvaluationError
from maskloop.results import Report

LEVEL = 0.95
DRAWS = 2000

Values = Sequence[float] | npt.NDArray[np.generic] | pd.Series


@dataclass(frozen=True)
class Interval:
    """A mean and the interval around it; its ends are NaN when a single image cannot tell them."""

    mean: float
    low: float
    high: float


def bootstrap(
    values: Values, images: Sequence[str] | pd.Series, level: float = LEVEL, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """Mean of the values of objects, with its interval.

    Args:
        values: one an object.
        images: the image of each object.
        level: share of the draws that the interval holds, half of the rest beyond either end.
        draws: how often images are drawn, as many as there are.
        seed: of the draws.
    """
    sums, sizes = _by_image(values, images)
    mean = float(sums.sum() / sizes.sum())
    if len(sums) < 2:
        return Interval(mean, math.nan, math.nan)
    drawn = np.random.default_rng(seed).integers(len(sums), size=(draws, len(sums)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high))


def studentised(
    values: Values, images: Sequence[str] | pd.Series, level: float = LEVEL, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """As `bootstrap`, but it holds the true mean as often as it says with ten images, too.

    Percentiles of few images are too narrow. Here each end is the outer one of two: Student's, right for few
    images, and the studentised bootstrap's, which sees when some are far off to one side.
    """
    sums, sizes = _by_image(values, images)
    mean = float(sums.sum() / sizes.sum())
    if len(sums) < 2:
        return Interval(mean, math.nan, math.nan)
    error = float(_error(sums, sizes))
    if error == 0:  # every image says the same
        return Interval(mean, mean, mean)
    drawn = np.random.default_rng(seed).integers(len(sums), size=(draws, len(sums)))
    sums, sizes = sums[drawn], sizes[drawn]
    means, errors = sums.sum(axis=1) / sizes.sum(axis=1), _error(sums, sizes)
    told = errors > 1e-9 * error  # a draw of one image alone, or of images alike, says nothing of the error
    ends = np.quantile((means[told] - mean) / errors[told], [(1 - level) / 2, (1 + level) / 2])
    student = float(stdtrit(drawn.shape[1] - 1, (1 + level) / 2))
    return Interval(
        mean, mean - error * max(student, float(ends[1])), mean + error * max(student, -float(ends[0]))
    )


def interval(
    report: Report, statistic: str, level: float = LEVEL, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """A statistic's mean over a report's objects, with its interval.

    Raises:
        EvaluationError: the report has no such statistic.
    """
    frame = report.to_frame()
    return bootstrap(_column(frame, statistic), frame["image"], level, draws, seed)


def difference(
    report: Report,
    other: Report,
    statistic: str,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """By how much a statistic of one report exceeds that of another, object by object.

    Both are of the same objects, so each draw compares the two on the same images: what is hard for both
    cancels out, and the interval is narrower than those of the two reports suggest.

    Raises:
        EvaluationError: the reports are of different objects or numbers of clicks.
    """
    check_comparable(report, other)
    ours, theirs = report.to_frame(), other.to_frame()
    return bootstrap(_column(ours, statistic) - _column(theirs, statistic), ours["image"], level, draws, seed)


def check_comparable(report: Report, other: Report) -> None:
    """Raise EvaluationError unless both are of the same objects and numbers of clicks."""
    if (report.max_clicks, report.stop) != (other.max_clicks, other.stop):
        raise EvaluationError(
            f"up to {report.max_clicks} clicks (stop {report.stop}) cannot be compared with up to"
            f" {other.max_clicks} (stop {other.stop}); evaluate both alike"
        )
    if [item.image_id for item in report.objects] != [item.image_id for item in other.objects]:
        raise EvaluationError(
            f"{report.model!r} was evaluated on {len(report.objects)} objects, {other.model!r} on"
            f" {len(other.objects)}, and they are not the same in the same order;"
            " evaluate both on one dataset"
        )


def slices(
    report: Report,
    by: str,
    statistics: Sequence[str] = ("noc90", "failed90", "boundary_iou"),
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> pd.DataFrame:
    """Statistics of parts of the objects.

    Args:
        report: what was measured.
        by: `category`, `size`, `share`, or another column of `Report.to_frame`.
        statistics: columns whose means are wanted.
        level: as for `bootstrap`.
        draws: as for `bootstrap`.
        seed: as for `bootstrap`.

    Returns:
        A row each part that has objects, named by the index: `objects`, `images`, and for each statistic
        `<statistic>`, `<statistic>_low`, `<statistic>_high`.
    """
    frame = report.to_frame()
    if by not in frame:
        raise EvaluationError(f"no column {by!r} to slice by; give category, size or share")
    rows = {}
    for name, part in frame.groupby(by, observed=True):
        row: dict[str, float] = {"objects": len(part), "images": part["image"].nunique()}
        for statistic in statistics:
            found = bootstrap(_column(part, statistic), part["image"], level, draws, seed)
            row |= {statistic: found.mean, f"{statistic}_low": found.low, f"{statistic}_high": found.high}
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(by)


def _by_image(
    values: Values, images: Sequence[str] | pd.Series
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """The sum of the values of each image, and how many they are."""
    groups, _ = pd.factorize(np.asarray(images, dtype=object))
    sums = np.bincount(groups, weights=np.asarray(values, dtype=np.float64)).astype(np.float64)
    return sums, np.bincount(groups)


def _error(sums: npt.NDArray[np.float64], sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Standard error of the mean over all objects; images are the last axis."""
    images, objects = sums.shape[-1], sizes.sum(axis=-1)
    off = sums - (sums.sum(axis=-1) / objects)[..., None] * sizes
    error: npt.NDArray[np.float64] = np.sqrt(images / (images - 1) * (off**2).sum(axis=-1)) / objects
    return error


def _column(frame: pd.DataFrame, statistic: str) -> npt.NDArray[np.float64]:
    numbers = frame.select_dtypes(["number", "bool"])
    if statistic not in numbers:
        raise EvaluationError(f"no statistic {statistic!r}; there are {', '.join(numbers.columns)}")
    return numbers[statistic].to_numpy(dtype=np.float64)
