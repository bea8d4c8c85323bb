"""Plots of the report: Fig. 1 and Fig. 3 of the paper with our figures, as SVG and PNG."""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from maskloop.evaluation import Report
from pipelines.files import write_atomically
from pipelines.report.comparison import Comparison

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8C6D31", "#7A7A7A")
"""Okabe and Ito's, told apart by people with any kind of colour vision; then two more."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
HATCHES = ("", "///", "...", "xx", "\\\\\\", "++", "oo", "**")
INK, PAPER = "#010203", "#FDFCFB"
"""Stand for the page's own colours of text and ground, which differ between light and dark."""
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "maskloop",
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    # names of models are no formulas
    "text.parse_math": False,
}


def curve(comparison: Comparison) -> Figure:
    """Fig. 1: mean IoU against the number of clicks."""
    with mpl.rc_context(STYLE):
        figure, axes = _figure(len(comparison.complete))
        for index, report in enumerate(comparison.complete):
            ious = [100 * iou for iou in report.iou_at_click()]
            axes.plot(
                range(1, len(ious) + 1),
                ious,
                color=_cycle(COLOURS, index),
                marker=_cycle(MARKERS, index),
                markersize=4.5,
                linewidth=1.8,
                label=_label(report),
            )
        axes.set(xlabel="clicks", ylabel="mean IoU, %", xlim=(0.5, comparison.max_clicks + 0.5))
        axes.set_ylim(top=100)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))  # there is no half click
        _finish(figure, axes)
    return figure


def histogram(comparison: Comparison) -> Figure:
    """Fig. 3: share of the objects by the number of clicks they took to 90 %."""
    reports = [report for report in comparison.ideal if 90 in report.thresholds]
    with mpl.rc_context(STYLE):
        figure, axes = _figure(len(reports))
        width = 0.84 / len(reports)
        for index, report in enumerate(reports):
            counts = report.histogram(0.9)
            shares = [100 * count / comparison.objects for count in counts.values()]
            places = [place - 0.42 + (index + 0.5) * width for place in range(len(counts))]
            colour = _cycle(COLOURS, index)
            bars = axes.bar(places, shares, width * 0.92, color=colour, label=_label(report))
            for bar in bars:
                bar.set_hatch(_cycle(HATCHES, index))
                bar.set_edgecolor(PAPER)
            labels = [f"{share:.0f}" for share in shares]
            axes.bar_label(bars, labels, padding=2, fontsize=9 if len(reports) < 5 else 7)
        axes.set_xticks(range(len(counts)), list(counts))
        axes.set(xlabel="clicks to an IoU of 90 %", ylabel="objects, %")
        axes.margins(y=0.12)
        _finish(figure, axes)
    return figure


def _figure(entries: int) -> tuple[Figure, Axes]:
    """The legend lies above the axes, so more entries need more height."""
    figure = Figure(figsize=(7.2, 3.7 + 0.22 * entries), layout="constrained")
    return figure, figure.subplots()


def _finish(figure: Figure, axes: Axes) -> None:
    axes.grid(axis="y", color=INK, alpha=0.15, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=3)
    figure.legend(loc="outside upper left", ncols=1, handlelength=2.2)


def _cycle(values: Sequence[str], index: int) -> str:
    return values[index % len(values)]


def _label(report: Report) -> str:
    # matplotlib leaves out of the legend what begins with an underscore
    return report.model.lstrip("_") or "unnamed"


def to_svg(figure: Figure, name: str, title: str) -> str:
    """A figure as an SVG element to stand in a page, in the page's own colours.

    Args:
        figure: what is drawn.
        name: letters and digits that no other figure of the page has, for the identifiers in it.
        title: plain text that is read out instead of the picture; must hold no markup.
    """
    text = _save(figure, "svg").decode()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    used = set(re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", text))
    names = {first or second for first, second in used}
    text = re.sub(r' id="([^"]+)"', lambda found: _identifier(found[1], name, names), text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = text.replace(INK.lower(), "currentColor").replace(PAPER.lower(), "var(--ground)")
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    # the family is the page's
    text = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", text)
    # the page's style sheet decides the width; the height follows from the view box
    opening = re.sub(r' (width|height)="[^"]*"', "", text[: text.index(">")])
    return f'{opening} role="img" aria-label="{title}"{text[text.index(">") :]}'


def _identifier(own: str, name: str, used: set[str]) -> str:
    return f' id="{name}-{own}"' if own in used else ""


def write_plots(comparisons: Sequence[Comparison], folder: Path) -> list[Path]:
    """Write every plot as SVG and PNG, for DVC and MLflow."""
    written = []
    for comparison in comparisons:
        for kind, figure in plots_of(comparison).items():
            dataset = re.sub(r"[^A-Za-z0-9]+", "_", comparison.dataset).strip("_") or "dataset"
            for form in ("svg", "png"):
                file = folder / f"{kind}_{dataset}_{comparison.objects}.{form}"
                write_atomically(file, _save(figure, form))
                written.append(file)
    return written


def plots_of(comparison: Comparison) -> dict[str, Figure]:
    """The plots that a comparison has results for, by kind."""
    plots = {}
    if comparison.complete:
        plots["iou_curve"] = curve(comparison)
    if any(90 in report.thresholds for report in comparison.ideal):
        plots["click_histogram"] = histogram(comparison)
    return plots


def save_png(figure: Figure, file: Path) -> None:
    """Write a figure as PNG."""
    write_atomically(file, _save(figure, "png"))


def save_svg(figure: Figure, file: Path) -> None:
    """Write a figure as SVG, to stand alone: black on whatever is behind."""
    write_atomically(file, _save(figure, "svg"))


def _save(figure: Figure, form: str) -> bytes:
    buffer = io.BytesIO()
    # no date, so that the same results give the same bytes
    metadata = {"Date": None} if form == "svg" else {"Software": None}
    with mpl.rc_context(STYLE):
        figure.savefig(
            buffer, format=form, dpi=150, metadata=metadata, facecolor="none" if form == "svg" else "w"
        )
    return buffer.getvalue()
