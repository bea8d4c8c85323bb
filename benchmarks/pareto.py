"""Clicks against milliseconds of a click: our variants, MobileSAM and grabCut, and who is beaten by nobody.

    python -m benchmarks.pareto coco_mval-00.parquet --out runs/pareto --objects 48 \\
        --checkpoints checkpoints/small --sides 192 256 320 384 --plot docs/pictures/pareto.svg

A variant is a checkpoint under a protocol at a longer side of the network's view. Each is measured once and
leaves a result file in `--out`; what is there is not measured again, and all that is there is drawn, so that
other checkpoints may be measured by other calls. Milliseconds are medians over the clicks of that evaluation,
one object at a time: the first click with what is prepared for the image, and those that follow. They are of
the machine and the moment, so run it where nothing else runs.
"""

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median

import matplotlib as mpl
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks.kept import kept
from maskloop.checkpoint import load_checkpoint
from maskloop.datasets import Samples, open_dataset
from maskloop.evaluation import Segmenter, evaluate
from maskloop.intervals import interval
from maskloop.predictor import Predictor
from maskloop.results import Report
from maskloop.rivals import open_segmenter
from pipelines.report.plots import COLOURS, MARKERS, STYLE

STOP = 0.9
"""Clicks after this IoU change neither NoC@85 nor NoC@90, so they are not made."""
PROTOCOLS = ("single", "csfpn", "focus")
RIVALS = ("mobile_sam", "grabcut")
TIMES = {"first_ms": "a first click", "following_ms": "a following click"}
STATISTICS = ("noc85", "noc90")


@dataclass(frozen=True)
class Variant:
    """A checkpoint as it may be run."""

    checkpoint: Path
    protocol: str
    side: int

    def open(self) -> Predictor:
        predictor = Predictor(load_checkpoint(self.checkpoint), long_side=self.side, protocol=self.protocol)
        predictor.version += f"+{self.side}"
        return predictor


def measured(segmenter: Segmenter, samples: Samples, dataset: str, out: Path) -> Report:
    """The result file of a segmenter, or measure and write it."""
    version = str(getattr(segmenter, "version", type(segmenter).__name__))

    def clicked() -> Report:
        if isinstance(segmenter, Predictor):
            segmenter.warm_up()
        return evaluate(segmenter, samples, stop=STOP, dataset=dataset)

    return kept(out / f"{version}.json", version, len(samples), clicked)


def row(report: Report) -> dict[str, object]:
    """Clicks with their intervals, and median milliseconds of a click."""
    figures: dict[str, object] = {"model": report.model, "objects": len(report.objects)}
    for statistic in STATISTICS:
        found = interval(report, statistic)
        figures |= {statistic: found.mean, f"{statistic}_low": found.low, f"{statistic}_high": found.high}
    following = [seconds for item in report.objects for seconds in item.seconds[1:]]
    return figures | {
        "first_ms": 1e3 * median(_first(report)),
        "following_ms": 1e3 * median(following) if following else None,
    }


def _first(report: Report) -> list[float]:
    """Seconds of the first click on each image: rivals keep what they made of it for its later objects."""
    seen: set[str] = set()
    seconds = []
    for item in report.objects:
        if item.image not in seen:
            seconds.append(item.seconds[0])
        seen.add(item.image)
    return seconds


def front(table: pd.DataFrame, time: str, statistic: str) -> pd.DataFrame:
    """Rows that no other row beats in one of the two and equals in the other, from the fastest on."""
    ordered = table.dropna(subset=[time]).sort_values([time, statistic], ignore_index=True)
    best = ordered[statistic].astype(float).cummin().shift(fill_value=float("inf"))
    return ordered[ordered[statistic] < best].reset_index(drop=True)


def draw(table: pd.DataFrame, out: Path) -> None:
    """A panel for each click and IoU, with a line along those that nobody beats; PNG or SVG by the name."""
    ink = {name: "black" for name in STYLE if name.endswith("color") and name != "axes.facecolor"}
    with mpl.rc_context(STYLE | ink):
        figure = Figure(figsize=(10.0, 7.0), layout="constrained")
        panels = figure.subplots(len(STATISTICS), len(TIMES), sharex="col", sharey="row")
        for (statistic, (time, name)), axes in zip(
            product(STATISTICS, TIMES.items()), panels.flat, strict=True
        ):
            _points(axes, table, time, statistic)
            axes.set_ylabel(f"clicks to IoU 0.{statistic[-2:]}")
            axes.set_xlabel(f"milliseconds of {name}, median")
        handles, labels = panels.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
        figure.savefig(out, dpi=110, facecolor="white")


def _points(axes: Axes, table: pd.DataFrame, time: str, statistic: str) -> None:
    best = front(table, time, statistic)
    axes.step(best[time], best[statistic], where="post", color="black", alpha=0.4, linewidth=1)
    for place, (kind, part) in enumerate(table.groupby("kind", sort=False)):
        axes.plot(
            part[time],
            part[statistic],
            color=COLOURS[place % len(COLOURS)],
            marker=MARKERS[place % len(MARKERS)],
            linewidth=0.8,
            markersize=6,
            label=str(kind),
        )
    for _, one in best.iterrows():
        axes.annotate(
            one["label"], (one[time], one[statistic]), (4, 4), textcoords="offset points", fontsize=8
        )
    axes.set_xscale("log")
    # the scale's own labels are powers written as formulas, which the style of the plots leaves unset
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.15)


def named(report: Report) -> dict[str, str]:
    """`kind` is what is drawn as one line, `label` names a point on it: the side, or a rival's name."""
    version, _, side = report.model.rpartition("+")
    if side.isdigit():
        return {"kind": version, "label": side}
    return {"kind": report.model, "label": report.model.partition("-")[0]}


def measure_all(
    variants: Iterable[Variant], rivals: Iterable[str], samples: Samples, dataset: str, out: Path
) -> Iterator[dict[str, object]]:
    """A row each."""
    for variant in variants:
        report = measured(variant.open(), samples, dataset, out)
        yield row(report) | named(report)
    for name in rivals:
        report = measured(open_segmenter(name), samples, dataset, out)
        yield row(report) | named(report)


def table_of(out: Path) -> pd.DataFrame:
    """The rows of all result files in a folder, those of one kind from the smallest side on."""
    reports = [Report.read(file) for file in sorted(out.glob("*.json"))]
    table = pd.DataFrame([row(report) | named(report) for report in reports])
    sides = pd.to_numeric(table["label"], errors="coerce")
    return table.assign(side=sides).sort_values(["kind", "side"], ignore_index=True).drop(columns="side")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="Parquet file that is measured on")
    parser.add_argument("--checkpoints", type=Path, nargs="+", default=[Path("checkpoints/small")])
    parser.add_argument("--protocols", nargs="+", default=PROTOCOLS)
    parser.add_argument("--sides", type=int, nargs="+", default=[192, 256, 320, 384])
    parser.add_argument("--rivals", nargs="*", default=RIVALS)
    parser.add_argument("--objects", type=int, help="spread evenly over the file; all without it")
    parser.add_argument("--out", type=Path, required=True, help="folder of the result files")
    parser.add_argument("--plot", type=Path, help="SVG or PNG that is drawn")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    samples = open_dataset("parquet", given.data).spread(given.objects)
    variants = [Variant(*values) for values in product(given.checkpoints, given.protocols, given.sides)]
    for figures in measure_all(variants, given.rivals, samples, given.data.stem, given.out):
        print(
            " ".join(f"{value:.2f}" if isinstance(value, float) else str(value) for value in figures.values())
        )
    table = table_of(given.out)
    table.to_csv(given.out / "pareto.csv", index=False)
    for statistic, time in product(STATISTICS, TIMES):
        print(f"{statistic}, {TIMES[time]}: {', '.join(front(table, time, statistic)['model'])}")
    if given.plot:
        draw(table, given.plot)


if __name__ == "__main__":
    main()
