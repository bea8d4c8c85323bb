"""The learning curve over training samples, and what the next doubling of compute should bring.

    python -m benchmarks.recipe_curve coco_mval-00.parquet --out runs/curve-results \\
        --point checkpoints/small runs/curve/800 runs/curve/1600 --plot docs/pictures/recipe_curve.svg
    python -m benchmarks.recipe_curve ... --point 19200=checkpoints/small 60000=models/other

A point is a checkpoint and the training samples behind it: those it tells itself, with those of the
checkpoint that it started from, or the number before `=`. Each is measured once; `curve.csv` in `--out` has a
line as soon as it is.

Clicks are 1 + b * samples ** -c: nobody needs less than one click, and a few points tell no third parameter.
Intervals draw images, the same for all points, and fit anew; they are of the objects, not of training. Points
along one run are no finished runs: the learning rate is still high there, and falls to the last one.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.kept import kept
from maskloop.checkpoint import load_checkpoint
from maskloop.datasets import Samples, open_dataset
from maskloop.errors import EvaluationError
from maskloop.evaluation import evaluate
from maskloop.intervals import DRAWS, LEVEL, Interval, check_comparable, interval
from maskloop.predictor import Predictor
from maskloop.results import Report
from pipelines.report.plots import COLOURS, STYLE

STOP = 0.9
"""Clicks after this IoU change neither NoC@85 nor NoC@90, so they are not made."""
STATISTICS = ("noc85", "noc90")
LEAST = 1.0
"""Clicks that everybody needs."""

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """A checkpoint, and the samples that it learnt from."""

    samples: int
    checkpoint: Path


def read_point(text: str) -> Point:
    """`SAMPLES=DIR` or `DIR`; EvaluationError when neither says how many samples there were."""
    count, mark, folder = text.rpartition("=")
    if not mark:
        return Point(samples_behind(Path(text)), Path(text))
    if not count.isdecimal() or not int(count):
        raise EvaluationError(f"the point {text!r} has no number of samples; write it as 19200=DIR")
    return Point(int(count), Path(folder))


def samples_behind(checkpoint: Path) -> int:
    """What a checkpoint and those that it started from learnt from, as it tells."""
    samples = load_checkpoint(checkpoint).samples
    if samples is None:
        raise EvaluationError(f"{checkpoint} does not tell its samples; write SAMPLES={checkpoint}")
    return samples


def measure(points: Sequence[Point], samples: Samples, dataset: str, out: Path, seed: int) -> list[Report]:
    """A report a point, from few samples to many; `curve.csv` has a line as soon as one is there."""
    out.mkdir(parents=True, exist_ok=True)
    reports: list[Report] = []
    rows: list[dict[str, Any]] = []
    for point in points:
        predictor = Predictor.load(point.checkpoint)

        def clicked(predictor: Predictor = predictor) -> Report:
            return evaluate(predictor, samples, stop=STOP, dataset=dataset)

        reports.append(kept(out / f"{point.samples}.json", predictor.version, len(samples), clicked))
        row: dict[str, Any] = {"samples": point.samples, "model": predictor.version, "objects": len(samples)}
        for statistic in STATISTICS:
            found = interval(reports[-1], statistic, seed=seed)
            row |= {statistic: found.mean, f"{statistic}_low": found.low, f"{statistic}_high": found.high}
        rows.append(row)
        pd.DataFrame(rows).to_csv(out / "curve.csv", index=False)
    return reports


@dataclass(frozen=True)
class Curve:
    """The curve of one statistic: clicks of each point, measured and of every draw of images."""

    samples: Numbers
    """Of each point, (P,)."""
    clicks: Numbers
    """(P,)."""
    drawn: Numbers
    """(draws, P)."""

    @classmethod
    def of(cls, samples: Sequence[int], reports: Sequence[Report], statistic: str, seed: int = 0) -> "Curve":
        """Draw images, the same ones for all points.

        Raises:
            EvaluationError: the reports are of different objects, or fewer than two.
        """
        if len(reports) < 2:
            raise EvaluationError(f"{len(reports)} point makes no curve; give two or more")
        for report in reports[1:]:
            check_comparable(report, reports[0])
        frames = [report.to_frame() for report in reports]
        images, _ = pd.factorize(frames[0]["image"])
        clicks = np.stack([frame[statistic].to_numpy(dtype=np.float64) for frame in frames])
        sizes = np.bincount(images)
        sums = np.stack([np.bincount(images, weights=row) for row in clicks])
        draws = np.random.default_rng(seed).integers(len(sizes), size=(DRAWS, len(sizes)))
        drawn = sums[:, draws].sum(axis=2) / sizes[draws].sum(axis=1)
        return cls(np.array(samples, dtype=np.float64), clicks.mean(axis=1), drawn.T)

    def at(self, samples: float) -> Interval:
        """Clicks that the fit expects after so many samples."""
        return _interval(self._expect(self.clicks, samples)[0], self._expect(self.drawn, samples))

    def next_doubling(self) -> Interval:
        """Clicks that twice the samples of the last point change, by the fit."""
        last = self.samples[-1]

        def change(clicks: Numbers) -> Numbers:
            return self._expect(clicks, 2 * last) - self._expect(clicks, last)

        return _interval(change(self.clicks)[0], change(self.drawn))

    def exponent(self) -> Interval:
        """c of the fit."""
        return _interval(self._fit(self.clicks)[1][0], self._fit(self.drawn)[1])

    def misfit(self) -> float:
        """Clicks that the fit is off at the worst point."""
        fitted = [self._expect(self.clicks, count)[0] for count in self.samples]
        return float(np.abs(np.array(fitted) - self.clicks).max())

    def _fit(self, clicks: Numbers) -> tuple[Numbers, Numbers]:
        """Logarithm of b, and c, of each row of clicks (..., P): least squares where the curve is a line."""
        heights = np.log(np.maximum(np.atleast_2d(clicks) - LEAST, 1e-6))
        places = np.log(self.samples)
        off = places - places.mean()
        slope = heights @ off / (off @ off)
        return heights.mean(axis=1) - slope * places.mean(), -slope

    def _expect(self, clicks: Numbers, samples: float) -> Numbers:
        height, exponent = self._fit(clicks)
        return LEAST + np.exp(height - exponent * np.log(samples))


def _interval(mean: float, drawn: Numbers) -> Interval:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(mean), float(low), float(high))


def summary(points: Sequence[Point], curves: dict[str, Curve]) -> str:
    """The table, and what the fit says."""
    lines = ["| samples | NoC@85 | NoC@90 |", "| --- | --- | --- |"]
    for place, point in enumerate(points):
        cells = [_cell(_interval(curve.clicks[place], curve.drawn[:, place])) for curve in curves.values()]
        lines.append(f"| {point.samples:,} | {' | '.join(cells)} |")
    for name, curve in curves.items():
        gain, last = curve.next_doubling(), curve.clicks[-1]
        lines.append(
            f"NoC@{name[-2:]}: exponent {_cell(curve.exponent())}, at most {curve.misfit():.2f} clicks off;"
            f" from {curve.samples[-1]:,.0f} to {2 * curve.samples[-1]:,.0f} samples"
            f" {gain.mean:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}] clicks, {100 * gain.mean / last:+.1f} %"
        )
    return "\n".join(lines)


def _cell(found: Interval) -> str:
    return f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"


def draw(curves: dict[str, Curve], out: Path) -> None:
    """Points with their intervals, and the fit as far as the next doubling; PNG or SVG by the name."""
    # a picture in a document stands on its own ground
    ink = {name: "black" for name in STYLE if name.endswith("color") and name != "axes.facecolor"}
    with mpl.rc_context(STYLE | ink):
        figure = Figure(figsize=(7.2, 4.0), layout="constrained")
        axes = figure.subplots()
        for (name, curve), colour in zip(curves.items(), COLOURS, strict=False):
            ends = np.quantile(curve.drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
            bars = np.abs(ends - curve.clicks)
            axes.errorbar(curve.samples, curve.clicks, bars, fmt="o", color=colour, label=f"NoC@{name[-2:]}")
            reach = np.geomspace(curve.samples[0], 2 * curve.samples[-1], 60)
            fitted = [curve.at(count) for count in reach]
            axes.plot(reach, [item.mean for item in fitted], color=colour, linewidth=1.2, linestyle="--")
            axes.fill_between(
                reach,
                [item.low for item in fitted],
                [item.high for item in fitted],
                color=colour,
                alpha=0.12,
                linewidth=0,
            )
            expected = curve.at(2 * curve.samples[-1]).mean
            axes.plot([2 * curve.samples[-1]], [expected], "o", color=colour, fillstyle="none")
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:,.0f} k"))
        axes.set(
            xlabel="training samples (hollow: the next doubling, as fitted)", ylabel="clicks", ylim=(0, None)
        )
        axes.grid(axis="y", alpha=0.15)
        axes.legend()
        figure.savefig(out, dpi=110, facecolor="white")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="Parquet file that is measured on")
    parser.add_argument("--point", nargs="+", required=True, metavar="[SAMPLES=]DIR", help="two or more")
    parser.add_argument("--objects", type=int, help="spread evenly over the file; all without it")
    parser.add_argument("--seed", type=int, default=0, help="of the draws of images")
    parser.add_argument("--out", type=Path, required=True, help="folder of the result files")
    parser.add_argument("--plot", type=Path, help="SVG or PNG that is drawn")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    points = sorted((read_point(text) for text in given.point), key=lambda point: point.samples)
    samples = open_dataset("parquet", given.data).spread(given.objects)
    reports = measure(points, samples, given.data.stem, given.out, given.seed)
    counts = [point.samples for point in points]
    curves = {name: Curve.of(counts, reports, name, given.seed) for name in STATISTICS}
    print(summary(points, curves))
    if given.plot:
        draw(curves, given.plot)


if __name__ == "__main__":
    main()
