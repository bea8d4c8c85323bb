import re

import numpy as np
import pandas as pd

from pipelines.data.collect import store_image
from pipelines.data.findings import read_findings
from pipelines.data.shards import read_rows
from pipelines.data.snapshot import Snapshot
from pipelines.quality import QualityConfig, open_findings, record, review
from pipelines.quality.page import render, write_findings_page
from tests.pipelines.fake_project import png
from tests.pipelines.quality.masks import row, square
from tests.pipelines.quality.test_review import extend

CONFIG = QualityConfig()


def found(root, *rows):
    """The findings of rows on an image that is stored, and how annotators agree."""
    image = store_image(root, png(0, 60, 80)).sha256
    snapshot = extend(root, Snapshot(), *(row(mask, **changes, image_sha256=image) for mask, changes in rows))
    done = review(root, snapshot, CONFIG)
    snapshot = record(root, snapshot, done.findings)
    return open_findings(read_rows(root, snapshot).to_pandas(), read_findings(root, snapshot)), done.agreement


def test_page__a_picture_a_finding_and_names_are_escaped(tmp_path):
    label = "<script>alert(1)</script>"
    waiting, agreement = found(
        tmp_path,
        (square(10, 10, 3), {"label": label}),
        (np.zeros((60, 80), bool), {"region_id": "nothing"}),
        (square(10, 10), {"task_id": 6, "annotation_id": 60, "clicks": [(50, 70, 1), (9, 9, 0)]}),
        (square(30, 30), {"task_id": 7, "annotation_id": 70, "annotator": 1}),
        (square(30, 40), {"task_id": 7, "annotation_id": 71, "annotator": 2, "updated_at": "t2"}),
    )
    page = render(waiting, agreement, tmp_path, "http://label.example/")
    assert "4 masks to look at" in page
    assert label not in page
    assert "&lt;script&gt;" in page
    assert page.count("<image ") == 4
    assert re.findall(r'<section id="(\w+)"', page) == [
        *("empty", "sliver", "clicks", "annotators", "agreement")
    ]
    assert 'href="http://label.example/projects/1/data?task=7"' in page
    assert page.count('class="positive"') == 2  # the click, and the one of the key
    assert len(set(re.findall(r'class="target" d="(M[^"]+)"', page))) == 2  # the other's, and the key's
    assert not re.findall(r'(?:src|href)="(?!data:|#|http://label.example/)', page)


def test_page__nothing_waits(tmp_path):
    waiting, agreement = found(tmp_path, (square(10, 10), {}))
    assert "0 masks to look at" in render(waiting, agreement, tmp_path)


def test_write_findings_page__table(tmp_path):
    waiting, agreement = found(tmp_path, (square(10, 10, 3), {}))
    table, page = write_findings_page(waiting, agreement, tmp_path, tmp_path / "reports")
    assert page.name == "quality.html"
    (line,) = pd.read_csv(table).to_dict("records")
    assert (line["reason"], line["value"], line["task_id"], line["label"]) == ("sliver", 9, 5, "Cell")
