"""The status as a page that needs no other file."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from pipelines.files import write_atomically
from pipelines.promotion.changes import minute
from pipelines.promotion.verdicts import Verdict
from pipelines.report.plots import to_svg
from pipelines.status.facts import Models, Status
from pipelines.status.plots import draw_all
from pipelines.status.text import data_line, describe

STYLE = Path(__file__).parents[1] / "report" / "page.css"
NOTES = {
    "Clicks for each mask that was kept": (
        "Dashed: the model was swapped; ↩ a rollback. From the click journal and the masks collected."
    ),
    "Masks that count": "By the time they were saved last. Dashed: the model was swapped.",
    "Clicks that each version needs": (
        "Mean clicks to IoU 0.90 on the test objects of its own retrain, beside the champion of then on the "
        "same ones. The test set grows: compare within a pair, not along the axis."
    ),
}


@dataclass(frozen=True)
class Row:
    """A version in the table of decisions."""

    version: int
    registered: str
    noc: str
    outcome: str
    decision: str
    changes: tuple[str, ...]


def write_status(status: Status, file: Path) -> None:
    """Write the page, whole or not at all."""
    write_atomically(file, render(status).encode())


def render(status: Status) -> str:
    """The page's text; all names in it are escaped by the template."""
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    plots = [
        # matplotlib escapes the names in it
        (title, Markup(to_svg(figure, f"plot{number}", title)), NOTES[title])  # noqa: S704
        for number, (title, figure) in enumerate(draw_all(status))
    ]
    return environment.get_template("page.html").render(
        style=Markup(STYLE.read_text(encoding="utf-8")),  # noqa: S704 - ours
        status=status,
        data=data_line(status.collected) if status.collected else "",
        describe=describe,
        minute=minute,
        commands=commands,
        plots=plots,
        rows=rows(status.models) if status.models else [],
        runs=status.runs.retrains if status.runs else (),
    )


def commands(line: str) -> Markup:
    """A line in which what stands between backticks is set as a command."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(line))))  # noqa: S704 - escaped


def rows(models: Models) -> list[Row]:
    """All versions, the newest first."""
    return [
        Row(
            version.number,
            _day(version.created),
            f"{float(version.tags['noc90']):.2f}" if "noc90" in version.tags else "",
            models.outcome(version),
            Verdict.of(version).reason if "decision" in version.tags else version.tags.get("reason", ""),
            tuple(str(one) for one in models.standing.changes if one.after == version.number),
        )
        for version in reversed(models.versions)
    ]


def _day(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
