"""A decision's page: the record as Markdown, with the plots that a person asks for."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from maskloop.results import Report
from pipelines.promotion.decisions import Record
from pipelines.promotion.gate import COARSE, GAIN, GENERAL, SLICES, Decision, Difference
from pipelines.report.comparison import Comparison
from pipelines.report.decision_plots import differences, forest, latency
from pipelines.report.plots import curve, histogram, save_png

TITLES = {GAIN: "clicks to IoU 0.90", COARSE: "clicks to IoU 0.85", GENERAL: "general benchmark"}


def draw(decision: Decision, challenger: Report, champion: Report, folder: Path) -> dict[str, Path]:
    """Draw the plots as PNG files in `folder`; returns them by title."""
    both = Comparison((replace(champion, model="champion"), replace(challenger, model="challenger")))
    figures = {
        "Clicks of each object": differences(challenger, champion),
        "Differences and their intervals": forest(decision),
        "Mean IoU by clicks": curve(both),
        "Objects by clicks": histogram(both),
    }
    if decision.latency:
        figures["Milliseconds a click"] = latency(decision.latency)
    files = {title: folder / f"{title.lower().replace(' ', '_')}.png" for title in figures}
    for title, figure in figures.items():
        save_png(figure, files[title])
    return files


def to_markdown(record: Record, plots: Mapping[str, Path], embed: bool, link: str = "") -> str:
    """The record to be read.

    Args:
        record: what was decided.
        plots: files by title.
        embed: put the plots into the text; else they are named as files that lie beside it.
        link: address of the run that the record is kept with.
    """
    tags = record.challenger.tags
    return "\n".join(
        [
            f"## Version {record.challenger.number}: {record.outcome}",
            "",
            record.decision.reason,
            "",
            *_table(record),
            "",
            *_slices(record.decision),
            f"Decided by {record.by} at {record.when}, of snapshot {tags.get('snapshot', 'none')}, commit"
            f" `{tags.get('git_sha', '')[:12]}`, branch `{record.branch}`."
            + (f" [The run, with all files]({link})" if link else ""),
            "",
            *(f"### {title}\n\n![{title}]({_address(file, embed)})\n" for title, file in plots.items()),
            f"The same result in another clone: `git switch {record.branch}`, `dvc pull`, `dvc repro`.",
            "",
        ]
    )


def _table(record: Record) -> list[str]:
    decision, rules = record.decision, record.rules
    gain, *others = (row for kind in TITLES for row in _rows(decision.of(kind), TITLES[kind]))
    return [
        f"| | version {record.champion.number} (champion) | version {record.challenger.number} (challenger)"
        " | difference | interval | allowed |",
        "| --- | --- | --- | --- | --- | --- |",
        gain,
        _failures(decision.figures, rules.failures),
        *others,
        *_latency(decision, rules.latency),
    ]


def _slices(decision: Decision) -> Sequence[str]:
    rows = [
        row
        for kind in SLICES
        for one in decision.of(kind)
        for row in _rows([one], f"{kind} {one.name} | {one.images} | {one.objects}")
    ]
    head = "| slice | images | objects | champion | challenger | difference | interval | allowed |"
    return [head, "| --- | --- | --- | --- | --- | --- | --- | --- |", *rows, ""] if rows else []


def _rows(found: Sequence[Difference], title: str) -> list[str]:
    return [
        f"| {title} | {one.champion:.2f} | {one.challenger:.2f} | {one.mean:+.2f}"
        f"{' **worse**' if one.worse else ''} | {one.low:+.2f} to {one.high:+.2f} ({100 * one.level:.3g} %)"
        f" | {'' if one.allowed is None else f'{one.allowed:+.2f}'} |"
        for one in found
    ]


def _failures(figures: Mapping[str, float], allowed: int) -> str:
    ours, theirs = figures["challenger_nof90"], figures["champion_nof90"]
    return f"| objects that fail | {theirs:.0f} | {ours:.0f} | {ours - theirs:+.0f} | | {allowed:+d} |"


def _latency(decision: Decision, allowed: float) -> list[str]:
    if decision.latency is None:
        return []
    times = decision.latency
    return [
        f"| milliseconds a click | {times.champion:.0f} | {times.challenger:.0f}"
        f" | {times.ratio:.2f} times | | {allowed:g} times |"
    ]


def _address(file: Path, embed: bool) -> str:
    if not embed:
        return file.name
    return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()
