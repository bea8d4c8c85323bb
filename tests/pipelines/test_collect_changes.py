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


def test_clock__was_put_back_before_an_annotation_was_deleted(project, tmp_path):
    first = collect(project, tmp_path, Snapshot()).snapshot
    project.tasks[1]["annotations"].clear()
    project.tasks[1]["updated_at"] = "2026-11-22T06:00:00.000000Z"
    again = Snapshot(**vars(first) | {"cursor": ""})  # what docs/data.md says to do then
    assert kept(tmp_path, collect(project, tmp_path, again).snapshot) == FIRST


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
