import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from maskloop.masks import polygon_to_mask
from maskloop.predictor import Predictor
from pipelines.data.collect import store_image
from pipelines.data.findings import read_findings, without_findings
from pipelines.data.samples import load_samples
from pipelines.data.shards import newest_masks, read_rows, write_shards
from pipelines.data.snapshot import Snapshot
from pipelines.errors import SettingsError, SnapshotError
from pipelines.quality import QualityConfig, Reviewer, open_findings, record, review
from tests.pipelines.conftest import REPOSITORY
from tests.pipelines.quality.masks import row, square

CONFIG = QualityConfig()
BAD = square(10, 10, 3)


def extend(root, snapshot, *rows):
    """The next snapshot, with these rows as well."""
    following = replace(snapshot, version=snapshot.version + 1)
    return replace(following, shards=snapshot.shards + write_shards(root, following.name, rows))


def found(review):
    return [(finding.region_id, finding.updated_at, finding.reason) for finding in review.findings]


def kept(root, snapshot):
    rows = read_rows(root, snapshot).to_pandas()
    left = newest_masks(without_findings(rows, read_findings(root, snapshot)))
    return sorted(zip(left["region_id"], left["updated_at"], strict=True))


def test_review__what_it_finds_is_recorded_once_and_kept_from_training(tmp_path):
    snapshot = extend(tmp_path, Snapshot(), row(BAD), row(region_id="s"))
    first = review(tmp_path, snapshot, CONFIG)
    assert (found(first), first.looked_at) == ([("r", "t1", "sliver")], 2)
    snapshot = record(tmp_path, snapshot, first.findings)
    assert snapshot.findings[0].name == "part-0001-0.parquet"
    assert kept(tmp_path, snapshot) == [("s", "t1")]
    assert not review(tmp_path, snapshot, CONFIG).findings


def test_review__only_what_is_new_is_looked_at(tmp_path):
    snapshot = extend(tmp_path, Snapshot(), row(BAD))
    snapshot = extend(tmp_path, snapshot, row(BAD, annotation_id=60, task_id=6, image_sha256="other"))
    second = review(tmp_path, snapshot, CONFIG, since=1)
    assert [finding.annotation_id for finding in second.findings] == [60]
    assert second.looked_at == 1


def test_review__a_new_mask_is_compared_with_older_ones_of_its_image(tmp_path):
    snapshot = extend(tmp_path, Snapshot(), row())
    snapshot = extend(tmp_path, snapshot, row(annotation_id=60, task_id=6, updated_at="t2"))
    (finding,) = review(tmp_path, snapshot, CONFIG, since=1).findings
    assert (finding.annotation_id, finding.reason) == (60, "duplicate")


def test_review__saved_again_it_counts(tmp_path):
    """A person was told, and says the same again."""
    snapshot = extend(tmp_path, Snapshot(), row(BAD))
    snapshot = record(tmp_path, snapshot, review(tmp_path, snapshot, CONFIG).findings)
    snapshot = extend(tmp_path, snapshot, row(BAD, updated_at="t2"))
    assert not review(tmp_path, snapshot, CONFIG, since=1).findings
    assert kept(tmp_path, snapshot) == [("r", "t2")]


def test_review__a_star_counts_but_nothing_is_learnt_from_an_empty_mask(tmp_path):
    empty = np.zeros((60, 80), bool)
    snapshot = extend(
        tmp_path, Snapshot(), row(BAD, ground_truth=True), row(empty, region_id="s", ground_truth=True)
    )
    assert found(review(tmp_path, snapshot, CONFIG)) == [("s", "t1", "empty")]


def test_review__saved_again_it_is_still_empty(tmp_path):
    empty = np.zeros((60, 80), bool)
    snapshot = extend(tmp_path, Snapshot(), row(empty))
    snapshot = record(tmp_path, snapshot, review(tmp_path, snapshot, CONFIG).findings)
    snapshot = extend(tmp_path, snapshot, row(empty, updated_at="t2"))
    assert found(review(tmp_path, snapshot, CONFIG, since=1)) == [("r", "t2", "empty")]


def test_review__what_is_set_aside_is_no_rival(tmp_path):
    """The other annotator's mask must not lose against one that is no good itself."""
    other = row(square(10, 10), annotation_id=60, annotator=8, updated_at="t0")
    snapshot = extend(tmp_path, Snapshot(), other, row(BAD | square(40, 40, 3)))
    snapshot = record(tmp_path, snapshot, review(tmp_path, snapshot, QualityConfig(tiny=19)).findings)
    assert read_findings(tmp_path, snapshot)["annotation_id"].tolist() == [50]
    assert kept(tmp_path, snapshot) == [("r", "t0")]


def test_review__versions_and_retractions(tmp_path):
    gone = replace(row(BAD, annotation_id=61, region_id="", updated_at="t2"), rle="")
    snapshot = extend(
        tmp_path,
        Snapshot(),
        row(BAD),
        row(updated_at="t2"),  # mended before anybody looked
        row(BAD, annotation_id=61, task_id=6),
        gone,
    )
    done = review(tmp_path, snapshot, CONFIG)
    assert (done.findings, done.looked_at) == ((), 1)


def test_record__a_file_is_never_written_twice(tmp_path):
    snapshot = extend(tmp_path, Snapshot(), row(BAD), row(BAD, region_id="s"))
    one, other = review(tmp_path, snapshot, CONFIG).findings
    snapshot = record(tmp_path, record(tmp_path, snapshot, [one]), [other])
    assert [file.name for file in snapshot.findings] == ["part-0001-0.parquet", "part-0002-0.parquet"]
    assert snapshot.version == 2
    assert read_findings(tmp_path, snapshot)["region_id"].tolist() == ["r", "s"]


def test_open_findings__what_was_mended_waits_no_more(tmp_path):
    snapshot = extend(tmp_path, Snapshot(), row(BAD, clicks=[(1, 2, 1)]), row(BAD, annotation_id=60))
    snapshot = record(tmp_path, snapshot, review(tmp_path, snapshot, CONFIG).findings)
    snapshot = extend(tmp_path, snapshot, row(annotation_id=60, updated_at="t2"))
    waiting = open_findings(read_rows(tmp_path, snapshot).to_pandas(), read_findings(tmp_path, snapshot))
    assert waiting["annotation_id"].tolist() == [50]
    assert waiting["own_clicks"].tolist() == ["[[1, 2, 1]]"]
    assert waiting["label"].tolist() == ["Cell"]


@pytest.fixture(scope="module")
def reviewer():
    return Reviewer(Predictor.load(REPOSITORY / "checkpoints/default"), "default")


@pytest.fixture(scope="module")
def photo():
    """A photo and an object of it that the checkpoint finds."""
    found = next(photo for photo in load_samples() if photo.name == "coins")
    return found.image_bytes, found.objects[0]


def test_review__the_model_is_asked(tmp_path, reviewer, photo):
    data, item = photo
    image = store_image(tmp_path, data)
    size = image.height, image.width
    mask = polygon_to_mask([np.asarray(ring) for ring in item.rings], *size)
    rows, cols = np.nonzero(mask)
    stray = np.zeros(size, bool)  # half of it, and as much again of what is beside it
    stray[rows, (cols + (np.ptp(cols) + 1) // 2) % size[1]] = True
    same = {"image_sha256": image.sha256}
    snapshot = extend(
        tmp_path,
        Snapshot(),
        row(mask, **same),
        row(stray, annotation_id=60, task_id=6, updated_at="t2", **same),
    )
    done = review(tmp_path, snapshot, CONFIG, reviewer)
    (finding,) = done.findings
    assert (done.asked, done.left) == (2, 0)
    assert (finding.annotation_id, finding.reason, finding.against) == (60, "model", "default")
    assert finding.value < 0.6
    assert finding.other
    assert len(finding.clicks) > 10

    one = review(tmp_path, snapshot, replace(CONFIG, limit=1), reviewer)
    assert (one.asked, one.left) == (1, 1)  # the newest
    assert [finding.annotation_id for finding in one.findings] == [60]
    learnt = review(tmp_path, snapshot, CONFIG, replace(reviewer, trained=1))
    assert (learnt.findings, learnt.asked) == ((), 0)

    shutil.rmtree(tmp_path / "data/images")
    with pytest.raises(SnapshotError, match="dvc checkout"):
        review(tmp_path, snapshot, CONFIG, reviewer)


def test_config__is_the_one_of_params_yaml():
    assert QualityConfig.read(REPOSITORY) == CONFIG


def test_config__unknown_name(tmp_path):
    (tmp_path / "params.yaml").write_text("quality: {tinny: 3}")
    with pytest.raises(SettingsError, match="tinny"):
        QualityConfig.read(tmp_path)


def test_review__nothing_collected(tmp_path):
    done = review(tmp_path, Snapshot(), CONFIG)
    assert (done.findings, done.looked_at) == ((), 0)
    assert record(tmp_path, Snapshot(), ()) == Snapshot()
    assert isinstance(done.agreement, pd.DataFrame)
