"""The findings for a person to see to: a table, and an HTML page with a picture of each, in one file."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from maskloop.arrays import Mask
from maskloop.clicks import Click
from maskloop.images import decode_image
from maskloop.masks import decode_coco
from pipelines.data.stored import StoredImages
from pipelines.files import write_atomically
from pipelines.report.pictures import LONG_SIDE, Mark, data_url, outline, window

CSV, PAGE = "quality.csv", "quality.html"
PICTURES = 200
"""Findings that the page shows, at most: each picture takes about 40 KB."""
MEANINGS = {
    "empty": "Masks without a pixel",
    "sliver": "Masks that are hardly there",
    "border": "Masks of the image instead of an object",
    "clicks": "Masks that are not where somebody clicked",
    "duplicate": "Objects that are labelled twice",
    "annotators": "Objects that two annotators drew differently",
    "model": "Masks that a model, which never learnt from them, contradicts",
}
_STYLE = Path(__file__).parents[1] / "report" / "page.css"
SHOWN = (
    *("reason", "detail", "value", "against", "label", "annotator"),
    *("project_id", "task_id", "annotation_id", "region_id", "updated_at"),
)
"""Columns of the table."""


@dataclass(frozen=True)
class Picture:
    """A mask as it is drawn: a JPEG as data URL, SVG paths over it, and what is told of it."""

    photo: str
    width: int
    height: int
    mask: str
    other: str
    marks: Sequence[Mark]
    label: str
    detail: str
    against: str
    place: str
    link: str


@dataclass(frozen=True)
class Group:
    """The findings of one reason."""

    reason: str
    title: str
    pictures: Sequence[Picture]


def write_findings_page(
    findings: pd.DataFrame, agreement: pd.DataFrame, root: Path, out: Path, label_studio: str = ""
) -> tuple[Path, Path]:
    """Write `quality.csv` and `quality.html`.

    Args:
        findings: of `open_findings`.
        agreement: of `agreement_table`.
        root: folder whose `data/images` has the images.
        out: folder that is written to.
        label_studio: its address, for links to the tasks.

    Raises:
        SnapshotError: an image is missing.
    """
    table = findings[list(SHOWN)].assign(
        link=[_link(label_studio, project, task) for project, task in _places(findings)]
    )
    write_atomically(out / CSV, table.to_csv(index=False).encode())
    write_atomically(out / PAGE, render(findings, agreement, root, label_studio).encode())
    return out / CSV, out / PAGE


def render(findings: pd.DataFrame, agreement: pd.DataFrame, root: Path, label_studio: str = "") -> str:
    """The page's text; all names in it are escaped by the template."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    counts = findings["reason"].value_counts()
    return environment.get_template("page.html").render(
        style=Markup(_STYLE.read_text(encoding="utf-8")),  # noqa: S704 - ours
        total=len(findings),
        tasks=len(set(_places(findings))),
        counts=[(reason, title, counts[reason]) for reason, title in MEANINGS.items() if reason in counts],
        agreement=agreement.reset_index().to_dict("records"),
        groups=_groups(findings.head(PICTURES), root, label_studio),
        shown=min(PICTURES, len(findings)),
    )


def _groups(findings: pd.DataFrame, root: Path, label_studio: str) -> list[Group]:
    images = StoredImages(root)
    return [
        Group(
            reason,
            title,
            [
                _draw(row, images, label_studio)
                for _, row in findings[findings["reason"] == reason].iterrows()
            ],
        )
        for reason, title in MEANINGS.items()
        if (findings["reason"] == reason).any()
    ]


def _draw(row: "pd.Series[str]", images: StoredImages, label_studio: str) -> Picture:
    """One finding: the photo about the mask, what it was compared with, and the clicks."""
    image = decode_image(images.read(str(row["image_sha256"])))
    size = [int(row["height"]), int(row["width"])]
    mask = _decode(row["rle"], size)
    other = _decode(row["other"], size)
    clicks = _clicks(row["clicks"]) or _clicks(row["own_clicks"])
    seen = mask | other
    top, left, bottom, right = window(seen if seen.any() or clicks else ~seen, clicks)
    scale = LONG_SIDE / max(bottom - top, right - left)
    cut = np.s_[top:bottom, left:right]
    return Picture(
        photo=data_url(image[cut], min(scale, 1.0)),
        width=round((right - left) * scale),
        height=round((bottom - top) * scale),
        mask=outline(mask[cut], scale),
        other=outline(other[cut], scale),
        marks=[
            Mark((click.col - left + 0.5) * scale, (click.row - top + 0.5) * scale, number, click.positive)
            for number, click in enumerate(clicks, start=1)
        ],
        label=str(row["label"]),
        detail=str(row["detail"]),
        against=str(row["against"]),
        place=(
            f"task {row['task_id']}, annotation {row['annotation_id']} of annotator {row['annotator']}, "
            f"region {row['region_id']}"
        ),
        link=_link(label_studio, int(row["project_id"]), int(row["task_id"])),
    )


def _decode(counts: str, size: list[int]) -> Mask:
    return decode_coco({"size": size, "counts": counts}) if counts else np.zeros(size, np.bool_)


def _clicks(text: str) -> list[Click]:
    return [Click(row, col, bool(positive)) for row, col, positive in json.loads(text)]


def _places(findings: pd.DataFrame) -> list[tuple[int, int]]:
    """Project and task of each finding."""
    return list(zip(findings["project_id"].astype(int), findings["task_id"].astype(int), strict=True))


def _link(label_studio: str, project: int, task: int) -> str:
    """Where a task is opened; empty without the address of Label Studio."""
    return f"{label_studio.rstrip('/')}/projects/{project}/data?task={task}" if label_studio else ""
