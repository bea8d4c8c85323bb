"""Tables in the paper's arrangement: published rows, and what was measured here."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any

from maskloop.evaluation import Report
from maskloop.intervals import Interval, difference, interval, slices
from pipelines.report import published
from pipelines.report.comparison import REALISTIC, Comparison, missed_by
from pipelines.report.table import DASH, Cell, Group, Row, Table, between, difference_cell, mark_best


def overview(comparison: Comparison) -> Table:
    """Main table of what was measured on one set of objects."""
    reports = comparison.ideal
    first = reports[0]
    headings = ["NoC@80", "NoC@85", "NoC@90", "NoC@95", f"NoC@90 against {first.model}"]
    headings += ["not solved @90", "seconds a click to 90 %"]
    rows = [
        Row(
            report.model,
            [
                *(_statistic(report, f"noc{percent}") for percent in (80, 85, 90, 95)),
                _against(report, first),
                Cell(f"{report.failures(0.9)} of {comparison.objects}", order=report.failures(0.9))
                if 90 in report.thresholds
                else Cell(DASH),
                _seconds(report),
            ],
            measured=True,
        )
        for report in reports
    ]
    return Table(
        f"Clicks needed on {comparison.title}",
        headings,
        [Group("", mark_best(rows, skip=(4,)))],
        measured_source(comparison),
        [
            "NoC@t: mean number of the first click whose mask has an IoU of t percent, at most"
            f" {comparison.max_clicks}. Small print: 95 % bootstrap interval over images. The difference is"
            " paired, object by object; one whose interval holds 0 is no finding."
        ],
    )


def main_table(comparisons: Sequence[Comparison]) -> Table:
    """The paper's main table, with our rows where the very same test sets were measured."""
    cells: dict[str, dict[published.Column, Cell]] = {}
    for comparison in comparisons:
        if comparison.column is None:
            continue
        for report in comparison.ideal:
            figures = [f"{report.noc(t / 100):.2f}" for t in comparison.column.thresholds]
            cells.setdefault(report.model, {})[comparison.column] = Cell(" / ".join(figures))
    ours = [
        Row(model, [found.get(column, Cell(DASH)) for column in published.COLUMNS], measured=True)
        for model, found in cells.items()
    ]
    groups = [
        Group(f"Published, trained on {trained_on}", _methods(trained_on))
        for trained_on in (published.SBD, published.COCO_LVIS)
    ]
    note = (
        "Our rows are of whole test sets; see the caveats for what they share with the published ones."
        if ours
        else "None of the given results is of a whole test set of this table, so it has no row of ours:"
        " figures of other images are not comparable with these."
    )
    if ours:
        groups.append(Group("Measured here", ours))
    return Table(
        "Main table of the paper",
        [column.heading for column in published.COLUMNS],
        groups,
        _sources("results table shown with the official code [T]", groups),
        [note, "* One figure for COCO-s and COCO-u together."],
    )


def _methods(trained_on: str) -> list[Row]:
    return [
        Row(
            method.name,
            [Cell(figure.replace("-", DASH)) for figure in method.figures],
            measured=False,
            detail=method.backbone,
            ours=method.ours,
        )
        for method in published.MAIN
        if method.trained_on == trained_on
    ]


def boundary_table(comparisons: Sequence[Comparison]) -> Table:
    """Table 1: NoC@90 and boundary IoU after the last click."""
    groups = [
        Group(
            "Published, on DAVIS (345 objects), networks not named",
            [
                Row(name, [Cell(noc), Cell(boundary)], measured=False, ours=name == "CSFPN")
                for name, noc, boundary in published.BOUNDARY
            ],
        )
    ]
    for comparison in comparisons:
        rows = [
            Row(
                report.model,
                [_statistic(report, "noc90"), _statistic(report, "boundary_iou", 100, best_is_high=True)],
                measured=True,
            )
            for report in comparison.complete
        ]
        if rows:
            groups.append(Group(_measured_on(comparison), mark_best(rows)))
    return Table(
        "Table 1: clicks and boundaries",
        ["NoC@90", "boundary IoU after the last click, %"],
        groups,
        _sources("appendix of the paper, Table 1 [A]", groups),
        [
            "Boundary IoU: IoU of the bands within 2 % of the image's diagonal of either boundary; the paper"
            " does not state its width.",
            *_missing(groups, "evaluate without an early stop"),
        ],
    )


def ablation_table(ablation: Mapping[str, Any] | None) -> Table:
    """Table 2: what the parts are worth."""
    rows = [
        Row(name, [Cell(davis), Cell(sbd), *[Cell(DASH)] * 4], measured=False, ours=name.endswith("HSGN"))
        for name, davis, sbd in (
            (name, davis.replace("-", DASH), sbd.replace("-", DASH))
            for name, davis, sbd in published.ABLATION
        )
    ]
    groups = [Group("Published, ResNet-34", rows)]
    notes = []
    if ablation is None:
        notes.append(
            "No ablation was given, so there are published rows only; the command maskloop ablate makes one."
        )
    else:
        ours = [
            Row(
                row["row"],
                [
                    Cell(DASH),
                    Cell(DASH),
                    _ablated(row["noc85"]),
                    _ablated(row["noc90"]),
                    _ablated_difference(row["noc90"]),
                    Cell(f"{row['parameters'] / 1e6:.2f} M", f"{row['macs'] / 1e9:.2f} GMAC"),
                ],
                measured=True,
            )
            for row in ablation["rows"]
        ]
        budget = ablation["budget"]
        title = (
            f"Measured here, on {ablation['dataset']} ({ablation['objects']} objects), {ablation['encoder']},"
            f" {budget['samples']:,} samples a network, seeds {', '.join(map(str, budget['seeds']))}"
        )
        groups.append(Group(title, mark_best(ours, skip=(4, 5))))
        notes.append(ablation["caveat"])
        height, width = ablation["cost_size"]
        notes.append(f"GMAC: multiply-accumulates of one pass at {height} x {width} with five clicks.")
    headings = ["DAVIS NoC@90", "SBD NoC@90", "NoC@85", "NoC@90", "NoC@90 against BS", "cost"]
    return Table(
        "Table 2: ablation",
        headings if ablation else headings[:2],
        groups if ablation else [Group(groups[0].title, [replace(row, cells=row.cells[:2]) for row in rows])],
        _sources("appendix of the paper, Table 2 [A]", groups),
        notes,
    )


def noise_table(comparisons: Sequence[Comparison]) -> Table:
    """Table 3: clicks that miss, and realistic ones."""
    found = {missed for one in comparisons for missed in _kinds(one)}
    pixels = sorted({*published.NOISE_PIXELS, *(one for one in found if isinstance(one, int))})
    kinds: list[int | str] = [*pixels, *([REALISTIC] if REALISTIC in found else [])]
    rows = [
        Row(
            name,
            [
                Cell(figures[published.NOISE_PIXELS.index(kind)])
                if kind in published.NOISE_PIXELS
                else Cell(DASH)
                for kind in kinds
            ],
            measured=False,
            ours=name == "CSFPN",
        )
        for name, figures in published.NOISE
    ]
    groups = [Group("Published, on DAVIS (345 objects), networks not named", rows)]
    for comparison in comparisons:
        # of models that were measured with ideal clicks alone, the main table tells all
        ours = [
            Row(model, [_over_seeds(comparison.of(model, kind)) for kind in kinds], measured=True)
            for model in comparison.models
            if any(comparison.of(model, kind) for kind in kinds if kind != 0)
        ]
        if ours:
            groups.append(Group(_measured_on(comparison), mark_best(ours)))
    headings = [kind if isinstance(kind, str) else f"{kind} px" for kind in kinds]
    return Table(
        "Table 3: clicks that miss",
        [f"NoC@90, {heading}" for heading in headings],
        groups,
        _sources("appendix of the paper, Table 3 [A]", groups),
        [
            "Each click is shifted by a uniform draw from -a..a pixels in both directions. \u00b1: standard"
            " deviation over seeds.",
            *_missing(groups, "evaluate with --noise 3 and --noise 6"),
        ],
    )


def _kinds(comparison: Comparison) -> set[int | str]:
    return {
        missed
        for missed in (*range(100), REALISTIC)
        for model in comparison.models
        if comparison.of(model, missed)
    }


def _over_seeds(reports: Sequence[Report]) -> Cell:
    values = [report.noc(0.9) for report in reports if 90 in report.thresholds]
    if not values:
        return Cell(DASH)
    if len(values) == 1:
        return Cell(f"{values[0]:.2f}", "" if missed_by(reports[0]) == 0 else "1 seed", order=values[0])
    return Cell(
        f"{fmean(values):.2f}", f"\u00b1 {stdev(values):.2f}, {len(values)} seeds", order=fmean(values)
    )


def slice_tables(comparison: Comparison) -> list[Table]:
    """NoC@90 by size, share of the image and category."""
    names = {"size": "size (COCO's)", "share": "share of the image", "category": "category"}
    reports = [report for report in comparison.ideal if 90 in report.thresholds]
    tables = []
    for by, name in names.items():
        parts = [slices(report, by, ["noc90"]) for report in reports]
        if not parts or len(parts[0]) < 2:
            continue
        frame = parts[0].sort_values("noc90", ascending=False) if by == "category" else parts[0]
        rows = [
            Row(
                str(part) or "(none)",
                [Cell(str(int(frame.loc[part, "objects"])))]
                + [_slice_cell(one.loc[part], with_interval=by != "category") for one in parts],
                measured=True,
            )
            for part in frame.index
        ]
        tables.append(
            Table(
                f"By {name}: NoC@90 on {comparison.title}",
                ["objects", *(report.model for report in reports)],
                [Group("", rows)],
                measured_source(comparison),
                ["Few objects a category: read them as hints where to look."] if by == "category" else [],
                folded=by == "category",
            )
        )
    return tables


def _slice_cell(part: Mapping[str, float], with_interval: bool) -> Cell:
    found = Interval(part["noc90"], part["noc90_low"], part["noc90_high"])
    return Cell(f"{found.mean:.2f}", between(found) if with_interval else "")


def _statistic(report: Report, name: str, scale: float = 1, best_is_high: bool = False) -> Cell:
    if name.startswith("noc") and int(name.removeprefix("noc")) not in report.thresholds:
        return Cell(DASH)
    found = interval(report, name)
    scaled = Interval(found.mean * scale, found.low * scale, found.high * scale)
    order = -scaled.mean if best_is_high else scaled.mean
    return Cell(f"{scaled.mean:.2f}", between(scaled), order=order)


def _against(report: Report, first: Report) -> Cell:
    if report is first:
        return Cell(DASH)
    if 90 not in report.thresholds or report.stop != first.stop:
        return Cell(DASH)
    return difference_cell(difference(report, first, "noc90"))


def _seconds(report: Report) -> Cell:
    if 90 not in report.thresholds:
        return Cell(DASH)
    seconds = report.seconds_per_click(until=0.9)
    return Cell(f"{seconds:.3f}", order=seconds)


def _ablated(figure: Mapping[str, Any]) -> Cell:
    low, high = figure["interval"]
    spread = "" if figure["spread"] is None else f"\u00b1 {figure['spread']:.2f} over seeds, "
    return Cell(
        f"{figure['mean']:.2f}", spread + between(Interval(figure["mean"], low, high)), order=figure["mean"]
    )


def _ablated_difference(figure: Mapping[str, Any]) -> Cell:
    if "difference" not in figure:
        return Cell(DASH)
    return difference_cell(Interval(figure["difference"], *figure["difference_interval"]))


def _measured_on(comparison: Comparison) -> str:
    return f"Measured here, on {comparison.title}, at most {comparison.max_clicks} clicks"


def _sources(published_in: str, groups: Sequence[Group]) -> str:
    ours = any(row.measured for group in groups for row in group.rows)
    return f"published: {published_in}" + ("; measured here: the result files listed below" if ours else "")


def _missing(groups: Sequence[Group], remedy: str) -> list[str]:
    return [] if len(groups) > 1 else [f"Nothing of this kind was measured: published rows only; {remedy}."]


def measured_source(comparison: Comparison) -> str:
    """What a measured figure is of."""
    versions = ", ".join(dict.fromkeys(report.model for report in comparison.ideal))
    return (
        f"measured here: {comparison.title}, at most {comparison.max_clicks} clicks, ideal annotator;"
        f" models {versions}"
    )
