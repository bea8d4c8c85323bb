from dataclasses import asdict, replace

import pandas as pd
import pytest

from pipelines.data.findings import Finding, read_findings, without_findings, write_findings
from pipelines.data.shards import Row, newest_masks
from pipelines.data.snapshot import Snapshot

FINDING = Finding(1, 5, 50, "r", "t1", "empty", "no pixel", 0.0)


def row(annotation_id=50, region_id="r", updated_at="t1", rle="x"):
    return Row(1, 5, annotation_id, region_id, updated_at, 7, "Cell", 4, 4, rle, "image", "{}")


def frame(*rows):
    return pd.DataFrame([asdict(row) for row in rows])


def kept(rows, *findings):
    left = without_findings(rows, pd.DataFrame([asdict(finding) for finding in findings]))
    return left[["annotation_id", "region_id", "updated_at"]].values.tolist()


def test_findings__are_read_as_they_were_written_and_appended(tmp_path):
    second = replace(FINDING, region_id="s", value=0.5, against="default", other="PP5", clicks="[[1, 2, 1]]")
    files = write_findings(tmp_path, "0001", [FINDING]) + write_findings(tmp_path, "0002", [second])
    found = read_findings(tmp_path, Snapshot(2, findings=files))
    assert [Finding(**record) for record in found.to_dict("records")] == [FINDING, second]


def test_without_findings__none_were_ever_made(tmp_path):
    rows = frame(row())
    assert without_findings(rows, read_findings(tmp_path, Snapshot())).equals(rows)


def test_without_findings__only_the_mask_itself_goes():
    rows = frame(row(), row(region_id="s"), row(annotation_id=51))
    assert kept(rows, FINDING) == [[50, "s", "t1"], [51, "r", "t1"]]


def test_without_findings__a_version_saved_since_is_free():
    rows = frame(row(), row(updated_at="t2"))
    assert kept(rows, FINDING) == [[50, "r", "t2"]]


def test_without_findings__an_older_version_does_not_come_back():
    rows = frame(row(updated_at="t0"), row())
    assert kept(rows, FINDING) == []


def test_without_findings__a_retraction_of_the_annotation_stays():
    rows = frame(row(), row(region_id="", updated_at="t2", rle=""))
    assert kept(rows, FINDING) == [[50, "", "t2"]]


@pytest.mark.parametrize("first", [50, 51])
def test_without_findings__another_annotation_of_the_task_counts_instead(first):
    rows = frame(row(annotation_id=first), row(annotation_id=101 - first, updated_at="t2"))
    later = replace(FINDING, annotation_id=101 - first, updated_at="t2")
    left = newest_masks(without_findings(rows, pd.DataFrame([asdict(later)])))
    assert left["annotation_id"].tolist() == [first]
