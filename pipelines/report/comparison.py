"""Comparisons: results on the same objects, which may stand in one table."""

from collections.abc import Sequence
from dataclasses import dataclass

from maskloop.evaluation import Report
from pipelines.report.published import COLUMNS, Column

REALISTIC = "realistic"


@dataclass(frozen=True)
class Comparison:
    """Results on the same objects of a dataset, with the same number of clicks."""

    reports: tuple[Report, ...]

    @property
    def dataset(self) -> str:
        return self.reports[0].dataset

    @property
    def objects(self) -> int:
        return len(self.reports[0].objects)

    @property
    def max_clicks(self) -> int:
        return self.reports[0].max_clicks

    @property
    def title(self) -> str:
        return f"{self.dataset or 'unnamed dataset'}, {self.objects} object{'s' if self.objects > 1 else ''}"

    @property
    def column(self) -> Column | None:
        """The published test set that these objects are, if they are all of it."""
        return next(
            (one for one in COLUMNS if (one.dataset, one.objects) == (self.dataset, self.objects)), None
        )

    @property
    def ideal(self) -> list[Report]:
        """Results of the annotator of the published protocol."""
        return [report for report in self.reports if missed_by(report) == 0]

    @property
    def complete(self) -> list[Report]:
        """Those of `ideal` where every click was made, so that curves and boundaries can be compared."""
        return [report for report in self.ideal if report.stop is None]

    @property
    def models(self) -> list[str]:
        """Every model once, as given."""
        return list(dict.fromkeys(report.model for report in self.reports))

    def of(self, model: str, missed: int | str) -> list[Report]:
        """Results of a model whose clicks missed by so many pixels, or were `realistic`; one a seed."""
        return [report for report in self.reports if report.model == model and missed_by(report) == missed]


def compare(reports: Sequence[Report]) -> list[Comparison]:
    """Sort results into comparisons, both as given."""
    groups: dict[object, list[Report]] = {}
    for report in reports:
        objects = tuple(item.image_id for item in report.objects)
        groups.setdefault((report.dataset, objects, report.max_clicks), []).append(report)
    return [Comparison(tuple(group)) for group in groups.values()]


def missed_by(report: Report) -> int | str:
    """Pixels that an annotator misses by: 0 the ideal one; the name of any other kind."""
    name = str(report.annotator.get("name", ""))
    if name == "noisy":
        return int(report.annotator["pixels"])
    return 0 if name == "centre" else name


def describe_annotator(report: Report) -> str:
    """For the line of sources."""
    settings = ", ".join(f"{key} {value}" for key, value in report.annotator.items() if key != "name")
    return f"{report.annotator.get('name', 'unknown')} annotator{f' ({settings})' if settings else ''}"
