"""The report on results written by hand: the right figures in their cells, and nothing that could do harm."""

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from maskloop.clicks import Click
from maskloop.datasets import Sample
from maskloop.errors import EvaluationError
from maskloop.evaluation import ObjectResult, Report
from maskloop.masks import encode_coco
from maskloop.model import ModelConfig
from maskloop.training import TrainingConfig
from pipelines.ablation import ROWS, AblationConfig, summarise
from pipelines.ablation import table as ablation
from pipelines.report import compare, published, read_inputs, render, write_plots
from pipelines.report.pictures import draw, extremes
from pipelines.report.table import DASH

HOSTILE = "</title><script>alert(1)</script>\"' onload=x $\\frac{1}{0}$ &amp; <!-- --"
SIZE = (40, 60)


def square(side: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[10 : 10 + side, 10 : 10 + side] = True
    return mask


def item(name: str, solved_at: int | None, category: str = "cat") -> ObjectResult:
    """An object whose IoU is 0.5, and from a click on 0.92."""
    ious = tuple(0.92 if solved_at and number >= solved_at else 0.5 for number in range(1, 21))
    return ObjectResult(
        image_id=name,
        category=category,
        height=SIZE[0],
        width=SIZE[1],
        area=400,
        ious=ious,
        seconds=(0.5,) * 20,
        clicks=tuple(Click(15 + n % 3, 15 + n, n % 2 == 0) for n in range(20)),
        boundary_iou=0.8,
        masks={n: encode_coco(square(18))["counts"] for n in (1, 5, 20)},
    )


def report(model: str, solved: list[int | None], dataset: str = "sheep", **annotator: object) -> Report:
    objects = tuple(
        item(f"image{number}", click, "cat" if number % 2 else "dog") for number, click in enumerate(solved)
    )
    return Report(model, dataset, annotator or {"name": "centre"}, objects)


class Tables(HTMLParser):
    """Every table of a page as rows of cell texts, by its heading; and every tag with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.classes: dict[tuple[str, str], str] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._heading = self._text = self._class = ""
        self._row: list[str] | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag == "tr":
            self._row, self._class = [], dict(attributes).get("class") or ""
        if tag in ("td", "th", "h3"):
            self._text = ""

    def handle_data(self, data: str) -> None:
        self._text += f" {data.strip()}" if data.strip() else ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "h3":
            self._heading = self._text.strip()
        if tag in ("td", "th") and self._row is not None:
            self._row.append(self._text.strip())
        if tag == "tr" and self._row:
            self.tables.setdefault(self._heading, []).append(self._row)
            self.classes[self._heading, self._row[0]] = self._class
            self._row = None

    def row(self, heading: str, name: str) -> list[str]:
        return next(row for row in self.tables[heading] if row[0] == name)[1:]


def test_overview__figures_in_their_cells() -> None:
    tables = Tables(render([report("ours", [1, 3, 5]), report("theirs", [2, 6, None])]))
    heading = "Clicks needed on sheep, 3 objects measured"
    head, ours, theirs = tables.tables[heading]
    assert head[1:5] == ["NoC@80", "NoC@85", "NoC@90", "NoC@95"]
    assert head[5] == "NoC@90 against ours"
    assert [cell.split(" ")[0] for cell in ours[1:5]] == ["3.00", "3.00", "3.00", "20.00"]
    assert ours[6:] == ["0 of 3", "0.500"]
    # (2 + 6 + 20) / 3, and against ours +1, +3, +15
    assert theirs[3].startswith("9.33 [")
    assert theirs[5].startswith("+6.33 [+1.00, +15.00]")
    assert theirs[6] == "1 of 3"


def test_overview__annotators_that_miss_are_not_in_it() -> None:
    tables = Tables(
        render([report("ours", [1, 3, 5]), report("ours", [9, 9, 9], name="noisy", pixels=3, seed=0)])
    )
    assert len(tables.tables["Clicks needed on sheep, 3 objects measured"]) == 2


def test_main_table__published_rows_and_no_row_of_another_dataset() -> None:
    tables = Tables(render([report("ours", [1, 3, 5], "coco_mval-00")]))
    rows = tables.tables["Main table of the paper"]
    assert ["CSFPN ResNet-50 published", "2.31", "3.35", "2.46", "3.69", "4.52 / 5.83", "3.08 / 4.98"] in rows
    assert ["RITM HRNet-18 published", "1.54", "2.26", DASH, DASH, "4.36 / 5.74", "3.80 / 6.06"] in rows
    assert len(rows) == 1 + len(published.MAIN) + 2
    assert not any("measured" in row[0] for row in rows)
    assert "no row of ours" in render([report("ours", [1], "davis")]), "one object is not DAVIS"


def test_main_table__the_whole_set_has_a_row() -> None:
    tables = Tables(render([report("ours", [1, 3] * 25, "grabcut")]))
    row = tables.row("Main table of the paper", "ours measured")
    assert row == ["2.00", DASH, DASH, DASH, DASH, DASH]
    assert tables.classes["Main table of the paper", "ours measured"] == "measured"
    assert tables.classes["Main table of the paper", "RITM HRNet-18 published"] == "published"


def test_table_1__boundaries() -> None:
    tables = Tables(render([report("ours", [1, 3, 5])]))
    heading = "Table 1: clicks and boundaries"
    assert tables.row(heading, "CSFPN published") == ["5.80", "87.07"]
    assert tables.row(heading, "ours measured") == ["3.00 [1.00, 5.00]", "80.00 [80.00, 80.00]"]


def test_table_2__published_rows_and_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation, "COST_SIZE", (64, 64))
    heading = "Table 2: ablation"
    alone = Tables(render([report("ours", [1])]))
    assert alone.row(heading, "BS+SGN+HSGN published") == ["6.39", "5.36"]
    assert alone.row(heading, "BS published") == [DASH, DASH]

    results = {row: [report(row, [4, 6]), report(row, [5, 7])] for row in ROWS}
    results["BS+SGN"] = [report("x", [3, 5]), report("x", [4, 6])]
    config = AblationConfig(
        TrainingConfig(steps=2, batch=3), ModelConfig(channels=12, hires_channels=8, heads=1), (0, 1)
    )
    summary = summarise(results, config, 7, "sheep", "ImageNet")
    page = render([report("ours", [1])], summary)
    row = Tables(page).row(heading, "BS+SGN measured")
    assert row[:2] == [DASH, DASH]
    assert row[3].startswith("4.50 ± 0.71 over seeds, [")
    assert row[4] == "\u22121.00 [\u22121.00, \u22121.00]"
    assert "saw 6 samples" in page


def test_table_3__noise_over_seeds() -> None:
    missed = [
        report("ours", solved, name="noisy", pixels=pixels, seed=seed)
        for pixels, seed, solved in [(3, 0, [2, 4]), (3, 1, [4, 6]), (6, 0, [9, 9])]
    ]
    realistic = report("ours", [7, 9], name="realistic", seed=0)
    tables = Tables(render([report("ours", [1, 3]), *missed, realistic, report("silent", [1, 3])]))
    heading = "Table 3: clicks that miss"
    assert tables.row(heading, "CSFPN published") == ["5.75", "5.77", "6.01", DASH]
    assert tables.row(heading, "ours measured") == [
        "2.00",
        "4.00 ± 1.41, 2 seeds",
        "9.00 1 seed",
        "8.00 1 seed",
    ]
    assert not any(row[0].startswith("silent") for row in tables.tables[heading])


def test_slices__by_category() -> None:
    tables = Tables(render([report("ours", [1, 3, 5, 7])]))
    rows = tables.tables["By category: NoC@90 on sheep, 4 objects measured"]
    assert rows[1:3] == [["cat", "2", "5.00"], ["dog", "2", "3.00"]]


def test_render__early_stop() -> None:
    stopped = Report("ours", "sheep", {"name": "centre"}, report("", [1, 3]).objects, stop=0.85)
    tables = Tables(render([stopped]))
    assert tables.tables["Clicks needed on sheep, 2 objects measured"][1][3:5] == [DASH, DASH]
    assert "Nothing of this kind was measured" in render([stopped])


def test_render__hostile_names_stay_text() -> None:
    hostile = Report(
        HOSTILE, HOSTILE, {"name": HOSTILE, HOSTILE: HOSTILE}, (item(HOSTILE, 1, HOSTILE), item("b", 2, "x"))
    )
    ideal = Report(HOSTILE, HOSTILE, {"name": "centre"}, hostile.objects)
    sample = Sample(HOSTILE, np.zeros((*SIZE, 3), np.uint8), square(20), None, HOSTILE)
    page = render([hostile, ideal], samples={HOSTILE: [sample]})
    tables = Tables(page)
    assert "script" not in {tag for tag, _ in tables.tags}
    assert not [name for _, attributes in tables.tags for name in attributes if name.startswith("on")]
    assert f"Clicks needed on {HOSTILE}, 2 objects measured".replace("  ", " ") in tables.tables
    assert "<script" not in page


def test_render__needs_nothing_else() -> None:
    sample = Sample("image0", np.zeros((*SIZE, 3), np.uint8), square(20), None, "cat")
    page = render([report("ours", [1, 3, 5])], samples={"sheep": [sample]})
    tags = Tables(page).tags
    links = [
        value
        for _, attributes in tags
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "srcset", "data", "action") and value
    ]
    assert links
    assert all(link.startswith(("#", "data:image/jpeg;base64,")) for link in links)
    assert not re.search(r"url\((?!#)|@import", page)
    assert not {tag for tag, _ in tags} & {"script", "link", "iframe", "object", "embed", "form", "base"}
    policy = next(found for tag, found in tags if "http-equiv" in found)
    assert "default-src 'none'" in str(policy["content"])
    # a link within the page leads somewhere, and no identifier is there twice
    names = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(names) == len(set(names))
    assert {link[1:] for link in links if link.startswith("#")} <= set(names)


def test_compare__only_the_same_objects() -> None:
    first, second = report("a", [1, 2]), report("b", [1, 2])
    other = Report("c", "sheep", {"name": "centre"}, first.objects[:1])
    assert [found.models for found in compare([first, other, second])] == [["a", "b"], ["c"]]


def test_extremes__by_clicks_then_by_the_last_iou() -> None:
    objects = [item(str(click), click) for click in (7, 1, None, 3, 9, 2)]
    found = extremes(objects, count=1)
    assert {title: [one.image_id for one in kind] for title, kind in found.items()} == {
        "Best": ["1"],
        "Median": ["3"],
        "Worst": ["None"],
    }
    assert list(extremes(objects[:2])) == ["All"]


def test_draw__marks_and_mask_of_the_click_that_solved_it() -> None:
    sample = Sample("a", np.zeros((*SIZE, 3), np.uint8), square(20), None, "cat")
    picture = draw(sample, item("a", 3))
    assert (picture.clicks, picture.solved, picture.iou) == (5, 3, 0.92)
    assert [mark.positive for mark in picture.marks] == [True, False, True, False, True]
    # the left 45 of 60 columns and all 40 rows are shown, enlarged to 480; click 1 is at row 15, column 15
    assert (picture.width, picture.height) == (480, 427)
    assert (picture.marks[0].x, picture.marks[0].y) == pytest.approx((15.5 * 480 / 45, 15.5 * 480 / 45))


def test_write_plots__svg_and_png(tmp_path: Path) -> None:
    comparisons = compare([report("ours $x_1$ <b>", [1, 3, 5], "../sheep & co")])
    written = write_plots(comparisons, tmp_path / "plots")
    assert sorted(file.name for file in written) == [
        "click_histogram_sheep_co_3.png",
        "click_histogram_sheep_co_3.svg",
        "iou_curve_sheep_co_3.png",
        "iou_curve_sheep_co_3.svg",
    ]
    drawing = ElementTree.parse(tmp_path / "plots" / "iou_curve_sheep_co_3.svg")
    assert "ours $x_1$ <b>" in {"".join(node.itertext()).strip() for node in drawing.iter()}
    again = write_plots(comparisons, tmp_path / "again")
    assert [file.read_bytes() for file in again] == [file.read_bytes() for file in written]


def test_read_inputs__results_and_an_ablation(tmp_path: Path) -> None:
    report("ours", [1]).write(tmp_path / "result.json")
    table = tmp_path / "ablation.json"
    table.write_text(f'{{"format": "{ablation.FORMAT}"}}')
    reports, found = read_inputs([table, tmp_path / "result.json"])
    assert [one.model for one in reports] == ["ours"]
    assert found == {"format": ablation.FORMAT}
    with pytest.raises(EvaluationError, match="both ablations"):
        read_inputs([table, table])
    (tmp_path / "other.json").write_text("[1]")
    with pytest.raises(EvaluationError, match="no result file"):
        read_inputs([tmp_path / "other.json"])
