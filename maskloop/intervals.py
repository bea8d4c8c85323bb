"""Confidence intervals of what was measured, by bootstrap over images.

Objects of one image are alike, so whole images are drawn, with all their objects; intervals are percentiles
of the mean over the draws. A statistic is a column of `Report.to_frame`, such as `noc90`, `failed90`, `iou5`
or `boundary_iou`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

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
    groups, names = pd.factorize(pd.Series(images))
    sums = np.bincount(groups, weights=np.asarray(values, dtype=np.float64))
    sizes = np.bincount(groups)
    mean = float(sums.sum() / sizes.sum())
    if len(names) < 2:
        return Interval(mean, math.nan, math.nan)
    drawn = np.random.default_rng(seed).integers(len(names), size=(draws, len(names)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high))


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
    if (report.max_clicks, report.stop) != (other.max_clicks, other.stop):
        raise EvaluationError(
            f"up to {report.max_clicks} clicks (stop {report.stop}) cannot be compared with up to"
            f" {other.max_clicks} (stop {other.stop}); evaluate both alike"
        )
    ours, theirs = report.to_frame(), other.to_frame()
    if list(ours["image_id"]) != list(theirs["image_id"]):
        raise EvaluationError(
            f"{report.model!r} was evaluated on {len(ours)} objects, {other.model!r} on {len(theirs)},"
            " and they are not the same in the same order; evaluate both on one dataset"
        )
    return bootstrap(_column(ours, statistic) - _column(theirs, statistic), ours["image"], level, draws, seed)


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


def _column(frame: pd.DataFrame, statistic: str) -> npt.NDArray[np.float64]:
    numbers = frame.select_dtypes(["number", "bool"])
    if statistic not in numbers:
        raise EvaluationError(f"no statistic {statistic!r}; there are {', '.join(numbers.columns)}")
    return numbers[statistic].to_numpy(dtype=np.float64)
