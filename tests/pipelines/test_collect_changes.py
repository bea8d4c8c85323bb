"""What happens between two collects: deletions, late imports, clocks that are wrong, runs that are killed."""

import copy
import os
import signal
from datetime import timedelta

import pytest

from pipelines.data.collect import collect
from pipelines.data.shards import newest_masks, read_rows
from pipelines.data.snapshot import Snapshot
from pipelines.label_studio.project import format_time, parse_time
from tests.pipelines.fake_project import FakeProject

LATER = "2026-11-22T08:00:00.000000Z"
EARLIER = "2026-11-22T06:00:00.000000Z"


@pytest.fixture
def project():
    """Tasks 24, with three masks, and 25, with one, written last."""
    return FakeProject()


def kept(root, snapshot):
    return sorted(newest_masks(read_rows(root, snapshot).to_pandas())["region_id"])


FIRST, SECOND = ["106f40a1ba", "5ca3cb6a09", "af91d01df9"], ["r1"]


@pytest.mark.parametrize(("place", "left"), [(0, SECOND), (1, FIRST)])
def test_deleted_task__its_masks_count_no_more(project, tmp_path, place, left):
    first = collect(project, tmp_path, Snapshot()).snapshot
    del project.tasks[place]
    second = collect(project, tmp_path, first).snapshot
    assert kept(tmp_path, second) == left
    third = collect(project, tmp_path, second).snapshot
    assert third.shards == second.shards, "and it is noted once"
    assert project.listed == 1, "tasks are listed only when their number tells that some are gone"


def test_deleted_task__while_another_one_was_added(project, tmp_path):
    first = collect(project, tmp_path, Snapshot()).snapshot
    other = copy.deepcopy(project.tasks[0]) | {"id": 26, "updated_at": LATER}
    other["annotations"][0] |= {"id": 40, "updated_at": LATER}
    project.tasks = [project.tasks[1], other]
    second = collect(project, tmp_path, first).snapshot
    rows = newest_masks(read_rows(tmp_path, second).to_pandas())
    assert set(rows["task_id"]) == {25, 26}


def test_deleted_task__collected_before_tasks_were_counted(project, tmp_path):
    first = collect(project, tmp_path, Snapshot()).snapshot
    del project.tasks[0]
    old = Snapshot(first.version, first.cursor, first.masks, first.shards)
    assert kept(tmp_path, collect(project, tmp_path, old).snapshot) == SECOND


def test_deleted_annotation__its_number_is_given_again(project, tmp_path):
    """SQLite's numbers of imported annotations go on from the highest there is."""
    first = collect(project, tmp_path, Snapshot()).snapshot
    other = copy.deepcopy(project.tasks[0]) | {"id": 26, "updated_at": LATER}
    other["annotations"][0]["updated_at"] = LATER
    project.tasks[0] |= {"annotations": [], "updated_at": "2026-11-22T09:00:00.000000Z"}
    project.tasks.append(other)
    second = collect(project, tmp_path, first).snapshot
    rows = newest_masks(read_rows(tmp_path, second).to_pandas())
    assert set(rows["task_id"]) == {25, 26}


def test_late_task__of_an_import_that_ended_long_after_it_began(project, tmp_path):
    late = project.tasks.pop(0)
    first = collect(project, tmp_path, Snapshot()).snapshot
    assert (first.newest_task, first.tasks) == (25, 1)
    project.tasks.insert(0, late)
    second = collect(project, tmp_path, first)
    assert late["updated_at"] < first.cursor
    assert (second.masks, kept(tmp_path, second.snapshot)) == (3, sorted(FIRST + SECOND))


def test_another_project__is_read_from_its_beginning(project, tmp_path):
    first = collect(project, tmp_path, Snapshot()).snapshot
    project.project = 13
    for task in project.tasks:
        task["id"] += 100
        task["updated_at"] = "2020-01-01T00:00:00.000000Z"
    second = collect(project, tmp_path, first)
    assert second.masks == 4
    rows = newest_masks(read_rows(tmp_path, second.snapshot).to_pandas())
    assert set(rows["task_id"]) == {24, 25, 124, 125}, "and what another project gave is not touched"


def shift(project, by):
    """Label Studio's clock goes wrong by so much, from the beginning on."""
    for task in project.tasks:
        for record in (task, *task["annotations"]):
            record["updated_at"] = format_time(parse_time(record["updated_at"]) + by)


@pytest.mark.parametrize("years", [-20, 0, 20])
def test_clock__only_that_of_label_studio_counts(project, tmp_path, years):
    by = timedelta(days=365 * years)
    shift(project, by)
    first = collect(project, tmp_path, Snapshot()).snapshot
    assert first.cursor == format_time(parse_time("2026-11-22T07:00:07.605832Z") + by)
    task = project.tasks[0]
    task["updated_at"] = task["annotations"][0]["updated_at"] = format_time(parse_time(LATER) + by)
    del task["annotations"][0]["result"][1]
    second = collect(project, tmp_path, first)
    assert second.masks == 2
    assert kept(tmp_path, second.snapshot) == ["5ca3cb6a09", "af91d01df9", "r1"]


def annotate(project, place, number, when):
    """Somebody saves one more annotation of a task, of one region."""
    task = project.tasks[place]
    region = copy.deepcopy(project.tasks[1]["annotations"][-1]["result"][0]) | {"id": f"new-{number}"}
    times = {"created_at": when, "updated_at": when}
    task["annotations"].append({"id": number, "completed_by": 1, "result": [region], **times})
    task["updated_at"] = when


def test_clock__was_put_back_while_somebody_annotated(project, tmp_path):
    first = collect(project, tmp_path, Snapshot()).snapshot
    annotate(project, 0, 40, EARLIER)
    assert project.tasks[0]["updated_at"] < first.cursor
    second = collect(project, tmp_path, first)
    assert (second.masks, second.unseen) == (1, (24,))
    assert "new-40" in set(read_rows(tmp_path, second.snapshot)["region_id"].to_pylist())
    third = collect(project, tmp_path, second.snapshot)
    assert (third.masks, third.unseen) == (0, ())
    assert project.listed == 1, "tasks are listed only when annotations are more or fewer than can be told"


def test_clock__is_right_again_and_others_annotate(project, tmp_path):
    """What was saved later, by the right clock, must not make up for what was saved by the wrong one."""
    first = collect(project, tmp_path, Snapshot()).snapshot
    annotate(project, 0, 40, EARLIER)
    annotate(project, 1, 41, LATER)
    second = collect(project, tmp_path, first)
    assert (second.masks, second.unseen) == (2, (24,))


def test_clock__was_put_back_while_a_new_task_was_labelled(project, tmp_path):
    first = collect(project, tmp_path, Snapshot()).snapshot
    project.tasks.append(copy.deepcopy(project.tasks[1]) | {"id": 26, "annotations": []})
    annotate(project, 2, 40, EARLIER)
    assert collect(project, tmp_path, first).unseen == (26,)


def test_clock__was_put_back_before_an_annotation_was_deleted(project, tmp_path):
    first = collect(project, tmp_path, Snapshot()).snapshot
    project.tasks[1]["annotations"].clear()
    project.tasks[1]["updated_at"] = EARLIER
    second = collect(project, tmp_path, first)
    assert (kept(tmp_path, second.snapshot), second.unseen) == (FIRST, (25,))


@pytest.mark.parametrize("change", ["nothing", "empty", "deleted", "cancelled", "saved again"])
def test_clock__is_right_and_tasks_are_not_listed(project, tmp_path, change):
    first = collect(project, tmp_path, Snapshot()).snapshot
    task = project.tasks[0]
    if change == "empty":
        annotate(project, 0, 40, LATER)
        task["annotations"][-1]["result"] = []
    if change == "deleted":
        task |= {"annotations": [], "updated_at": LATER}
    if change == "cancelled":
        task["annotations"][0] |= {"was_cancelled": True, "updated_at": LATER}
        task["updated_at"] = LATER
    if change == "saved again":
        task["annotations"][0]["updated_at"] = task["updated_at"] = LATER
    second = collect(project, tmp_path, first).snapshot
    collect(project, tmp_path, second)
    assert project.listed == 0


def test_cursor__set_back_by_hand_gives_nothing_twice(project, tmp_path):
    first = collect(project, tmp_path, Snapshot()).snapshot
    again = collect(project, tmp_path, Snapshot(**vars(first) | {"cursor": ""}))
    assert (again.masks, again.snapshot) == (0, first)


def test_killed__while_it_writes_and_nothing_is_counted(project, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.data.shards.ROWS_PER_FILE", 1)
    read_image = project.image

    def kill(reference):
        if reference == project.tasks[1]["data"]["image"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return read_image(reference)

    child = os.fork()
    if not child:
        project.image = kill
        try:
            collect(project, tmp_path, Snapshot())
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    folder = tmp_path / "data/annotations"
    assert len(list(folder.iterdir())) == 3, "the rows of the first task were written"

    del project.tasks[0]["annotations"][0]["result"][1:]
    collected = collect(project, tmp_path, Snapshot())
    assert collected.masks == 2
    assert {path.name for path in folder.iterdir()} == {shard.name for shard in collected.snapshot.shards}


def test_failed__what_was_written_before_is_removed(project, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.data.shards.ROWS_PER_FILE", 1)
    first = collect(project, tmp_path, Snapshot()).snapshot
    before = {path.name for path in (tmp_path / "data/annotations").iterdir()}
    for task in project.tasks:
        task["updated_at"] = LATER
        for annotation in task["annotations"]:
            annotation["updated_at"] = LATER
    changed = project.changed_tasks

    def broken(cursor):
        yield from changed(cursor)
        assert {path.name for path in (tmp_path / "data/annotations").iterdir()} > before
        raise KeyboardInterrupt

    project.changed_tasks = broken
    with pytest.raises(KeyboardInterrupt):
        collect(project, tmp_path, first)
    assert {path.name for path in (tmp_path / "data/annotations").iterdir()} == before
