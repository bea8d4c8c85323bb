"""The page: one HTML file that needs nothing else, arranged as the paper."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from maskloop.datasets import Sample
from maskloop.evaluation import Report
from pipelines.files import write_atomically
from pipelines.report import tables
from pipelines.report.comparison import Comparison, compare, describe_annotator
from pipelines.report.pictures import Gallery, galleries
from pipelines.report.plots import plots_of, to_svg
from pipelines.report.published import CAVEATS, WITHIN_FIVE

TITLES = {
    "iou_curve": "Fig. 1: mean IoU against the number of clicks",
    "click_histogram": "Fig. 3: objects by the clicks they took",
}
NOTES = {
    "iou_curve": "The paper's Fig. 1 is of iShape, and its values cannot be read.",
    "click_histogram": (
        "Published for 1 to 5 clicks on DAVIS (345 objects), ResNet-50: "
        + ", ".join(f"{name} {share} %" for name, share in WITHIN_FIVE)
        + " [A]. Those are other objects, so not to be compared with these bars; the published values of the"
        " other bins cannot be read."
    ),
}


@dataclass(frozen=True)
class Plot:
    """A plot as SVG, and its source."""

    title: str
    svg: Markup
    source: str
    note: str = ""


@dataclass(frozen=True)
class Pictures:
    """The pictures of one result."""

    model: str
    source: str
    galleries: Sequence[Gallery]


def write_page(
    reports: Sequence[Report],
    out: Path,
    ablation: Mapping[str, Any] | None = None,
    samples: Mapping[str, Sequence[Sample]] | None = None,
) -> None:
    """Write the page.

    Args:
        reports: results, in the order of the tables; the first on a dataset is what others are compared with.
        out: the file.
        ablation: content of an `ablation.json`.
        samples: by the name of their dataset, for pictures of objects.
    """
    write_atomically(out, render(reports, ablation, samples).encode())


def render(
    reports: Sequence[Report],
    ablation: Mapping[str, Any] | None = None,
    samples: Mapping[str, Sequence[Sample]] | None = None,
) -> str:
    """The page's text; all names in it are escaped by the template."""
    comparisons = compare(reports)
    ideal = [comparison for comparison in comparisons if comparison.ideal]
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        style=Markup((folder / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - ours
        reports=[(report, describe_annotator(report)) for report in reports],
        overviews=[tables.overview(comparison) for comparison in ideal],
        paper=[
            tables.main_table(comparisons),
            tables.boundary_table(comparisons),
            tables.ablation_table(ablation),
            tables.noise_table(comparisons),
        ],
        plots=[plot for comparison in ideal for plot in _plots(comparison, ideal.index(comparison))],
        slices=[table for comparison in ideal for table in tables.slice_tables(comparison)],
        pictures=_pictures(ideal, samples or {}),
        caveats=CAVEATS,
    )


def _plots(comparison: Comparison, number: int) -> list[Plot]:
    return [
        Plot(
            f"{TITLES[kind]}, on {comparison.title}",
            # matplotlib escapes the names in it
            Markup(to_svg(figure, f"{kind}{number}", TITLES[kind])),  # noqa: S704
            tables.measured_source(comparison),
            NOTES[kind],
        )
        for kind, figure in plots_of(comparison).items()
    ]


def _pictures(comparisons: Sequence[Comparison], samples: Mapping[str, Sequence[Sample]]) -> list[Pictures]:
    return [
        Pictures(
            report.model, tables.measured_source(comparison), galleries(report, samples[comparison.dataset])
        )
        for comparison in comparisons
        if comparison.dataset in samples
        for report in comparison.ideal
    ]
