import hashlib
from dataclasses import replace

import pytest

from maskloop.masks import decode_coco
from pipelines.data.collect import collect
from pipelines.data.shards import newest_masks, read_rows
from pipelines.data.snapshot import Snapshot
from pipelines.errors import LabelStudioError, SnapshotError
from tests.pipelines.fake_project import FakeProject

LATER = "2026-11-22T08:00:00.000000Z"
LATEST = "2026-11-22T09:00:00.000000Z"


@pytest.fixture
def project():
    return FakeProject()


def masks(root, snapshot):
    return newest_masks(read_rows(root, snapshot).to_pandas())


def test_collect__keeps_masks_and_drops_ghosts_and_cancelled(project, tmp_path):
    collected = collect(project, tmp_path, Snapshot())
    rows = read_rows(tmp_path, collected.snapshot).to_pylist()
    assert [row["region_id"] for row in rows] == ["af91d01df9", "106f40a1ba", "5ca3cb6a09", "r1"]
    assert [row["label"] for row in rows] == ["Cell", "Debris", "Cell", "Cell"]
    assert {(row["height"], row["width"]) for row in rows} == {(48, 64)}
    assert all(decode_coco({"size": [48, 64], "counts": row["rle"]}).any() for row in rows)
    assert collected.dropped == ("task 25, annotation 22: cancelled",)
    assert collected.snapshot.cursor == "2026-11-22T07:00:07.605832Z"
    assert (collected.snapshot.version, collected.snapshot.masks, collected.masks) == (1, 4, 4)


def test_collect__images_stored_once_under_their_digest(project, tmp_path):
    project.images = dict.fromkeys(project.images, next(iter(project.images.values())))
    rows = read_rows(tmp_path, collect(project, tmp_path, Snapshot()).snapshot).to_pylist()
    (stored,) = (tmp_path / "data/images").iterdir()
    digest = hashlib.sha256(stored.read_bytes()).hexdigest()
    assert stored.name == f"{digest}.png"
    assert {row["image_sha256"] for row in rows} == {digest}


def test_collect__second_time_finds_nothing(project, tmp_path):
    first = collect(project, tmp_path, Snapshot()).snapshot
    second = collect(project, tmp_path, first)
    assert project.asked[-1] == 25, "the overlap gives the last task again"
    assert (second.masks, second.snapshot) == (0, first)


def test_collect__changed_annotation_replaces_its_masks(project, tmp_path):
    first = collect(project, tmp_path, Snapshot()).snapshot
    task = project.tasks[0]
    task["updated_at"] = task["annotations"][0]["updated_at"] = LATER
    del task["annotations"][0]["result"][1]
    second = collect(project, tmp_path, first)
    assert (second.masks, second.snapshot.version, len(second.snapshot.shards)) == (2, 2, 2)
    kept = masks(tmp_path, second.snapshot)
    assert sorted(kept["region_id"]) == ["5ca3cb6a09", "af91d01df9", "r1"]


@pytest.mark.parametrize("change", ["deleted", "cancelled", "emptied"])
def test_collect__withdrawn_annotation_counts_no_more(project, tmp_path, change):
    first = collect(project, tmp_path, Snapshot()).snapshot
    task = project.tasks[0]
    task["updated_at"] = LATER
    if change == "deleted":
        task["annotations"] = []
    else:
        task["annotations"][0] |= {"updated_at": LATER}
        task["annotations"][0] |= {"was_cancelled": True} if change == "cancelled" else {"result": []}
    second = collect(project, tmp_path, first).snapshot
    assert list(masks(tmp_path, second)["region_id"]) == ["r1"]
    assert second.masks == first.masks, "a withdrawal is no new mask"
    assert collect(project, tmp_path, second).snapshot == second, "and it is noted once"


def test_collect__annotation_that_comes_back(project, tmp_path):
    first = collect(project, tmp_path, Snapshot()).snapshot
    annotation = project.tasks[0]["annotations"][0]
    results, annotation["result"] = annotation["result"], []
    annotation["updated_at"] = project.tasks[0]["updated_at"] = LATER
    second = collect(project, tmp_path, first).snapshot
    annotation |= {"result": results, "updated_at": LATEST}
    project.tasks[0]["updated_at"] = LATEST
    third = collect(project, tmp_path, second).snapshot
    assert len(masks(tmp_path, third)) == 4


def test_collect__newest_annotation_of_a_task_counts(project, tmp_path):
    other = dict(project.tasks[1]["annotations"][1])
    other |= {"id": 30, "completed_by": {"id": 2}, "updated_at": LATER}
    other["result"] = [{**other["result"][0], "id": "r2"}]
    project.tasks[1]["annotations"].append(other)
    snapshot = collect(project, tmp_path, Snapshot()).snapshot
    kept = masks(tmp_path, snapshot)
    assert list(kept[kept["task_id"] == 25]["region_id"]) == ["r2"]
    assert set(read_rows(tmp_path, snapshot).to_pandas()["annotator"]) == {1, 2}


@pytest.mark.parametrize("result", [None, "text", [1], [{"id": "x", "type": "brushlabels", "value": None}]])
def test_collect__damaged_annotation_costs_only_itself(project, tmp_path, result):
    project.tasks[0]["annotations"][0]["result"] = result
    collected = collect(project, tmp_path, Snapshot())
    assert collected.masks == 1


def test_collect__damaged_region_costs_only_itself(project, tmp_path):
    project.tasks[0]["annotations"][0]["result"][0]["value"]["rle"] = [0, 1]
    collected = collect(project, tmp_path, Snapshot())
    assert collected.masks == 3
    assert any("task 24, annotation 21" in reason for reason in collected.dropped)


def test_collect__mask_of_another_size_than_the_image(project, tmp_path):
    project.tasks[1]["annotations"][1]["result"][0]["original_width"] = 65
    collected = collect(project, tmp_path, Snapshot())
    assert collected.masks == 3
    assert any("65 x 48" in reason for reason in collected.dropped)


def test_collect__empty_mask_is_dropped_with_its_reason(project, tmp_path):
    value = project.tasks[1]["annotations"][1]["result"][0]["value"]
    value |= {"x": 150, "rotation": 0}
    collected = collect(project, tmp_path, Snapshot())
    assert any("'r1' is empty" in reason for reason in collected.dropped)


@pytest.mark.parametrize("data", [None, b"no image"])
def test_collect__image_that_fails_is_asked_for_again(project, tmp_path, data):
    reference = project.tasks[0]["data"]["image"]
    good = project.images.pop(reference)
    if data:
        project.images[reference] = data
    first = collect(project, tmp_path, Snapshot())
    assert (first.masks, first.snapshot.retry) == (1, (24,))
    project.images[reference] = good
    second = collect(project, tmp_path, first.snapshot)
    assert (second.masks, second.snapshot.retry) == (3, ())


def test_collect__task_to_try_again_was_deleted(project, tmp_path):
    del project.images[project.tasks[0]["data"]["image"]]
    first = collect(project, tmp_path, Snapshot()).snapshot
    del project.tasks[0]
    assert collect(project, tmp_path, first).snapshot.retry == ()


def test_collect__server_fails_midway_and_nothing_is_written(project, tmp_path):
    def broken(cursor):
        yield from FakeProject().changed_tasks(cursor)
        raise LabelStudioError("gone")

    project.changed_tasks = broken
    with pytest.raises(LabelStudioError):
        collect(project, tmp_path, Snapshot())
    assert not list(tmp_path.rglob("*.parquet"))


def test_collect__empty_project(project, tmp_path):
    project.tasks = []
    assert collect(project, tmp_path, Snapshot()).snapshot == Snapshot(project=12, annotations=0)


def test_read_rows__edited_shard(project, tmp_path):
    snapshot = collect(project, tmp_path, Snapshot()).snapshot
    shard = snapshot.shards[0]
    with pytest.raises(SnapshotError, match="was changed"):
        read_rows(tmp_path, replace(snapshot, shards=(replace(shard, sha256="0" * 64),)))
    (tmp_path / "data/annotations" / shard.name).unlink()
    with pytest.raises(SnapshotError, match="missing"):
        read_rows(tmp_path, snapshot)
