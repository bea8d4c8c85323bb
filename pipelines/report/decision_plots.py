"""Plots of a decision: what each object took, what got better or worse and how sure that is, and latency."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from maskloop.results import Report
from pipelines.promotion.gate import COARSE, GAIN, GENERAL, Decision, Difference
from pipelines.promotion.latency import Latency
from pipelines.report.plots import COLOURS, INK, STYLE

BETTER, WORSE, EVEN = COLOURS[0], COLOURS[1], COLOURS[7]
NAMES = {GAIN: "all objects", COARSE: "all objects, to IoU 0.85", GENERAL: "general benchmark"}


def differences(challenger: Report, champion: Report) -> Figure:
    """Clicks to IoU 0.90 that the challenger needs more on each object, from the fewest to the most."""
    ours, theirs = (report.to_frame()["noc90"].to_numpy() for report in (challenger, champion))
    more = np.sort(ours - theirs)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.4), layout="constrained")
        axes = figure.subplots()
        colours = [BETTER if value < 0 else WORSE for value in more]
        axes.bar(range(1, len(more) + 1), more, width=0.85, color=colours)
        axes.axhline(0, color=INK, linewidth=0.8)
        mean = float(more.mean())
        axes.axhline(mean, color=INK, linestyle="--", linewidth=1)
        end = (len(more) + 0.5, mean)  # where bars point the other way
        axes.annotate(f"mean {mean:+.2f}", end, (0, -11), textcoords="offset points", ha="right", fontsize=9)
        counts = [int((more < 0).sum()), int((more == 0).sum()), int((more > 0).sum())]
        axes.set_title(
            "{} objects need fewer clicks, {} as many, {} more".format(*counts), fontsize=11, loc="left"
        )
        axes.set(xlabel="objects, sorted", ylabel="clicks more than the champion")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color=INK, alpha=0.15, linewidth=0.7)
        axes.set_axisbelow(True)
    return figure


def forest(decision: Decision) -> Figure:
    """Every difference with its interval, and what is allowed."""
    rows = decision.differences
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 1.5 + 0.34 * len(rows)), layout="constrained")
        axes = figure.subplots()
        for place, one in enumerate(rows):
            colour = BETTER if one.better else WORSE if one.worse else EVEN
            axes.plot([one.low, one.high], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
            axes.plot([one.mean], [place], "o", color=colour, markersize=6)
            if one.allowed is not None:
                axes.plot([one.allowed], [place], "|", color=INK, markersize=13, markeredgewidth=1.5)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_yticks(range(len(rows)), [_label(one) for one in rows], fontsize=9)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel("clicks more than the champion; | allowed")
        axes.grid(axis="x", color=INK, alpha=0.15, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    return figure


def latency(measured: Latency) -> Figure:
    """Median milliseconds a click of both."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 1.7), layout="constrained")
        axes = figure.subplots()
        values: Sequence[float] = (measured.champion, measured.challenger)
        bars = axes.barh(["champion", "challenger"], values, color=COLOURS[:2], height=0.6)
        axes.bar_label(bars, [f"{value:.0f} ms" for value in values], padding=3, fontsize=9)
        axes.invert_yaxis()
        axes.set_xlabel(
            f"median of {measured.clicks} clicks, ms; in pairs {measured.ratio:.2f} times as long"
        )
        axes.margins(x=0.12)
        axes.tick_params(axis="y", length=0)
    return figure


def _label(one: Difference) -> str:
    name = NAMES.get(one.kind) or f"{one.kind} {one.name}"
    return f"{name} ({one.objects} of {one.images} images)"
