"""Plots of the status: real clicks and masks over time, versions of the model and when each served."""

from collections.abc import Iterator
from datetime import datetime

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipelines.promotion.changes import Change
from pipelines.report.plots import COLOURS, INK, PAPER
from pipelines.report.plots import STYLE as PAGE
from pipelines.status.facts import Models, Status

STYLE = PAGE | {"date.converter": "concise"}
WINDOW = 25
"""Masks that the running mean of clicks is taken over."""
OUTCOMES = {
    "serves": (COLOURS[2], "o"),
    "served": (COLOURS[0], "s"),
    "rolled back": (COLOURS[1], "X"),
    "kept back": (COLOURS[7], "v"),
    "may serve": (COLOURS[5], "D"),
    "not judged": (COLOURS[6], "P"),
}


def draw_all(status: Status) -> Iterator[tuple[str, Figure]]:
    """Each plot with its title, where something is known to draw."""
    changes = status.models.standing.changes if status.models else ()
    if status.clicks is not None and not status.clicks.masks.empty:
        yield "Clicks for each mask that was kept", draw_clicks(status.clicks.masks, changes)
    if status.collected is not None and not status.collected.masks.empty:
        yield "Masks that count", draw_masks(status.collected.masks, changes)
    if status.models is not None and status.models.measured:
        yield "Clicks that each version needs", draw_versions(status.models)


def draw_clicks(masks: pd.DataFrame, changes: tuple[Change, ...]) -> Figure:
    """One dot a mask, and the running mean."""
    with mpl.rc_context(STYLE):
        figure, axes = _figure()
        times = pd.to_datetime(masks["time"], utc=True)
        counts = masks["clicks"].astype(float)
        window = min(WINDOW, len(masks))
        mean = counts.rolling(window, min_periods=max(1, window // 3)).mean()
        axes.scatter(times, counts, s=22, color=COLOURS[4], alpha=0.75, linewidths=0, label="a mask")
        axes.plot(times, mean, color=COLOURS[0], linewidth=2, label=f"mean of the last {window}")
        axes.set_ylim(0, 1.12 * float(counts.max()))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        _mark(axes, changes, times.min(), times.max())
        axes.set(ylabel="clicks")
        _finish(figure, axes)
    return figure


def draw_masks(masks: pd.DataFrame, changes: tuple[Change, ...]) -> Figure:
    """How many there were at each moment, by when they were saved last."""
    with mpl.rc_context(STYLE):
        figure, axes = _figure()
        times = pd.to_datetime(masks["updated_at"], utc=True, format="ISO8601").sort_values()
        axes.step(times, range(1, len(times) + 1), where="post", color=COLOURS[0], linewidth=2, label="masks")
        axes.set_ylim(0, 1.12 * len(times))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        _mark(axes, changes, times.min(), times.max())
        axes.set(ylabel="masks")
        _finish(figure, axes)
    return figure


def draw_versions(models: Models) -> Figure:
    """NoC@90 of each version by what came of it, and that of the champion of then on the same objects."""
    with mpl.rc_context(STYLE):
        figure, axes = _figure()
        measured = models.measured
        for number, pair in measured.items():
            axes.plot([number, number], pair, color=INK, alpha=0.35, linewidth=1, zorder=1)
        axes.scatter(
            list(measured),
            [champion for _, champion in measured.values()],
            s=44,
            facecolors=PAPER,
            edgecolors=INK,
            label="champion of then",
            zorder=2,
        )
        for outcome, (colour, marker) in OUTCOMES.items():
            known = [one.number for one in models.versions if models.outcome(one) == outcome]
            own = {number: measured[number][0] for number in known if number in measured}
            if own:
                axes.scatter(
                    list(own), list(own.values()), s=56, color=colour, marker=marker, label=outcome, zorder=3
                )
        axes.set_ylim(0, 1.15 * max(max(pair) for pair in measured.values()))
        axes.set_xlim(min(measured) - 0.6, max(measured) + 0.6)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="version", ylabel="NoC@90")
        _finish(figure, axes)
    return figure


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.2, 3.7), layout="constrained")
    return figure, figure.subplots()


def _mark(axes: Axes, changes: tuple[Change, ...], first: datetime, last: datetime) -> None:
    """A line where the model was swapped, with the version that served from then on."""
    shown = [one for one in changes if one.kind != "first" and datetime.fromisoformat(one.at) >= first]
    for change in shown:
        at = datetime.fromisoformat(change.at)
        colour = COLOURS[1] if change.kind == "rollback" else COLOURS[2]
        axes.axvline(_days(at), color=colour, linewidth=1.2, linestyle="--")
        arrow = "↩ " if change.kind == "rollback" else ""
        place = (_days(at), 1.0)
        axes.annotate(
            f"{arrow}v{change.after}",
            place,
            xycoords=axes.get_xaxis_transform(),
            xytext=(3, -9),
            textcoords="offset points",
            fontsize=9,
            color=colour,
        )
    end = max([last, *(datetime.fromisoformat(one.at) for one in shown)])
    pad = (end - first) * 0.03 or pd.Timedelta(minutes=30)
    axes.set_xlim(_days(first - pad), _days(end + 2 * pad))


def _days(time: datetime) -> float:
    """Days since 1970, which matplotlib draws dates by."""
    return time.timestamp() / 86400


def _finish(figure: Figure, axes: Axes) -> None:
    axes.grid(axis="y", color=INK, alpha=0.15, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=3)
    figure.legend(loc="outside upper left", ncols=4, handlelength=1.6)
