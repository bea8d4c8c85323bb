"""The plot of real clicks: how many a mask took by model version, and how that went as people labelled."""

from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipelines.clicks.joining import Clicks
from pipelines.report.plots import COLOURS, HATCHES, INK, PAPER, STYLE, save_png, save_svg

MOST = 10
"""Masks of as many clicks or more share the last bar."""
WINDOW = 50
"""Masks that the running mean is taken over."""
FEWEST = 10
"""Masks that it begins with: a mean of fewer jumps up and down."""
VERSIONS = 4
"""Model versions that are told apart; older ones are drawn as one."""
OLDER = "older"
NAME = "real_clicks"


def write_click_plots(clicks: Clicks, folder: Path) -> list[Path]:
    """Write the plot as PNG and SVG; nothing where no mask was kept yet."""
    if clicks.masks.empty:
        return []
    figure = draw_clicks(clicks.masks)
    files = [folder / f"{NAME}.png", folder / f"{NAME}.svg"]
    save_png(figure, files[0])
    save_svg(figure, files[1])
    return files


def draw_clicks(masks: pd.DataFrame) -> Figure:
    """Histogram of the clicks of each mask, and their running mean, both by model version."""
    versions = _versions(masks)
    names = list(dict.fromkeys(versions))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 3.9 + 0.22 * len(names)), layout="constrained")
        bars, line = figure.subplots(1, 2, width_ratios=(1.15, 1))
        _draw_histogram(bars, masks, versions, names)
        _draw_running_mean(line, masks, versions, names)
        for axes in (bars, line):
            axes.grid(axis="y", color=INK, alpha=0.15, linewidth=0.7)
            axes.set_axisbelow(True)
            axes.tick_params(length=3)
        handles, labels = bars.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=1, handlelength=2.2)
    return figure


def _versions(masks: pd.DataFrame) -> "pd.Series[str]":
    """The model version of each mask, in the order that they served; all but the newest are `older`."""
    served = list(dict.fromkeys(masks["model"]))
    return masks["model"].where(masks["model"].isin(served[-VERSIONS:]), OLDER)


def _draw_histogram(axes: Axes, masks: pd.DataFrame, versions: "pd.Series[str]", names: list[str]) -> None:
    counts = masks["clicks"].clip(1, MOST)
    width = 0.84 / len(names)
    for index, name in enumerate(names):
        own = counts[versions == name]
        shares = [100 * float((own == number).mean()) for number in range(1, MOST + 1)]
        places = [number - 0.42 + (index + 0.5) * width for number in range(1, MOST + 1)]
        mean = masks.loc[versions == name, "clicks"].mean()
        drawn = axes.bar(
            places,
            shares,
            width * 0.92,
            color=COLOURS[index],
            label=f"{name.lstrip('_') or 'unnamed'}: {len(own)} masks, {mean:.2f} clicks on average",
        )
        for bar in drawn:
            bar.set_hatch(HATCHES[index])
            bar.set_edgecolor(PAPER)
    axes.set_xticks(range(1, MOST + 1), [*map(str, range(1, MOST)), f"{MOST}+"])
    axes.set(xlabel="clicks for a mask that was kept", ylabel="masks of the version, %")


def _draw_running_mean(axes: Axes, masks: pd.DataFrame, versions: "pd.Series[str]", names: list[str]) -> None:
    fewest = min(FEWEST, (len(masks) + 1) // 2)
    mean = masks["clicks"].astype(float).rolling(WINDOW, min_periods=fewest).mean()
    # a version's stretch begins where the one before ends, so that the line has no gaps
    for start, end in _stretches(versions):
        colour = COLOURS[names.index(versions.iloc[start])]
        begin = max(start - 1, 0)
        axes.plot(range(begin + 1, end + 1), mean.iloc[begin:end], color=colour, linewidth=1.8)
        if start:
            axes.axvline(start + 0.5, color=INK, alpha=0.25, linewidth=0.8, linestyle="--")
    newest = COLOURS[names.index(versions.iloc[-1])]
    axes.plot(len(masks), mean.iloc[-1], color=newest, marker="o", markersize=4.5)
    axes.set(xlabel="masks kept so far", ylabel=f"clicks, mean of the last {min(WINDOW, len(masks))} masks")
    axes.set_xlim(0, len(masks) + 1)
    axes.set_ylim(0, 1.15 * float(mean.max()))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def _stretches(versions: "pd.Series[str]") -> list[tuple[int, int]]:
    """Where one version served without a break: first row, and the one after the last."""
    starts = [row for row in range(len(versions)) if not row or versions.iloc[row] != versions.iloc[row - 1]]
    return list(zip(starts, [*starts[1:], len(versions)], strict=True))
