"""Draw what `benchmarks.loop` found: clicks a mask against masks labelled, and the table of the figures.

python -m benchmarks.learning_curve runs/nuclei runs/threads --out docs/pictures/learning.png
"""

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from benchmarks.loop import NONE, STRATEGIES
from maskloop.intervals import difference, interval
from maskloop.results import Report

COLOURS = dict(zip(STRATEGIES, ("#777777", "#e69f00", "#56b4e9", "#009e73"), strict=True))
NAMES = {NONE: "no retraining", "random": "random order", "entropy": "pixel entropy", "gain": "gain (ours)"}


def read_results(folder: Path) -> pd.DataFrame:
    """One row a strategy and round."""
    rows = [json.loads(path.read_text()) for path in sorted(folder.glob("*/result-*.json"))]
    return pd.DataFrame(rows).sort_values(["strategy", "masks"], ignore_index=True)


def draw(folders: list[Path], out: Path) -> None:
    figure, rows = plt.subplots(len(folders), 3, figsize=(12, 3.6 * len(folders)), squeeze=False)
    for folder, axes in zip(folders, rows, strict=True):
        results = read_results(folder)
        domain = results["domain"][0]
        for statistic, axis in zip(("noc85", "noc90"), axes[:2], strict=True):
            _held_out(axis, results, folder, statistic)
            axis.set_title(f"{domain}: NoC@{statistic[-2:]} on held-out images")
        _labelling(axes[2], results)
        axes[2].set_title(f"{domain}: clicks a mask while labelling")
    rows[0][0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(out, dpi=110)


def _held_out(axis: Axes, results: pd.DataFrame, folder: Path, statistic: str) -> None:
    for strategy, part in results.groupby("strategy"):
        if strategy == NONE:
            continue
        axis.plot(part["masks"], part[statistic], "o-", color=COLOURS[strategy], label=NAMES[strategy])
    shipped = interval(Report.read(folder / "reports/shipped.json"), statistic)
    axis.axhline(shipped.mean, color=COLOURS[NONE], linestyle="--", label=NAMES[NONE])
    axis.axhspan(shipped.low, shipped.high, color=COLOURS[NONE], alpha=0.12)
    axis.set(xlabel="masks labelled", ylabel="clicks", ylim=(0, None))


def _labelling(axis: Axes, results: pd.DataFrame) -> None:
    """Clicks of each round, at the middle of its masks; `none` labels the pictures of `random`."""
    for strategy, part in results[results["masks"] > 0].groupby("strategy"):
        size = part["masks"].diff().fillna(part["masks"])
        axis.plot(part["masks"] - size / 2, part["clicks"], "o-", color=COLOURS[strategy])
    axis.set(xlabel="masks labelled", ylabel="clicks (10 at most)", ylim=(0, None))


def table(folder: Path) -> str:
    """Figures of every round, and by how much the last model of each strategy needs fewer clicks."""
    results = read_results(folder)
    shipped = Report.read(folder / "reports/shipped.json")
    lines = [results.to_string(index=False, float_format="%.2f")]
    for strategy in results["strategy"].unique():
        last = results[results["strategy"] == strategy]["masks"].rank(method="dense").max()
        path = folder / "reports" / f"{strategy}-{last - 1:.0f}.json"
        if strategy != NONE and path.exists():
            lines += [_gain(strategy, Report.read(path), shipped, name) for name in ("noc85", "noc90")]
    return "\n".join(lines)


def _gain(strategy: str, report: Report, shipped: Report, statistic: str) -> str:
    found, before = difference(report, shipped, statistic), interval(shipped, statistic).mean
    low, high = (100 * end / before for end in (found.low, found.high))
    change = 100 * found.mean / before
    return f"{strategy}, {statistic}: {change:+.0f} % clicks, interval {low:+.0f} to {high:+.0f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("learning.png"))
    arguments = parser.parse_args()
    for folder in arguments.folders:
        print(table(folder))
    draw(arguments.folders, arguments.out)


if __name__ == "__main__":
    main()
