import shutil

import pytest

from pipelines.data.findings import read_findings
from pipelines.data.snapshot import Snapshot, write_snapshot
from pipelines.quality.retraining import review_new
from tests.pipelines.conftest import REPOSITORY
from tests.pipelines.quality.masks import row, square
from tests.pipelines.quality.test_review import BAD, extend


@pytest.fixture
def root(tmp_path):
    """A checkout whose committed snapshot has one mask, and the snapshot that follows it."""
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    (tmp_path / "data").mkdir()
    return tmp_path


def test_review_new__what_came_before_is_not_looked_at_again(root):
    committed = extend(root, Snapshot(), row(BAD))
    write_snapshot(root, committed)
    following = extend(root, committed, row(BAD, annotation_id=60, task_id=6, image_sha256="other"))
    reviewed = review_new(root, following, None)
    assert reviewed.review.looked_at == 1
    assert reviewed.snapshot.findings[0].name == "part-0002-0.parquet"
    assert read_findings(root, reviewed.snapshot)["annotation_id"].tolist() == [60]
    assert reviewed.waiting["annotation_id"].tolist() == [60]


def test_review_new__what_was_told_before_waits_until_it_is_mended(root):
    first = review_new_and_commit(root, extend(root, Snapshot(), row(BAD)))
    second = extend(root, first, row(square(30, 40), annotation_id=60, task_id=6, image_sha256="other"))
    assert review_new(root, second, None).waiting["annotation_id"].tolist() == [50]
    mended = extend(root, first, row(updated_at="t2"))
    assert review_new(root, mended, None).waiting.empty


def review_new_and_commit(root, snapshot):
    write_snapshot(root, Snapshot())
    reviewed = review_new(root, snapshot, None).snapshot
    write_snapshot(root, reviewed)
    return reviewed
