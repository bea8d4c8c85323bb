"""With a real Label Studio."""

import base64
from dataclasses import replace
from datetime import timedelta

import cv2
import httpx
import numpy as np
import pytest

from maskloop.masks import decode_coco, encode_brush
from pipelines.data.collect import collect
from pipelines.data.shards import newest_masks, read_rows
from pipelines.data.snapshot import Snapshot
from pipelines.errors import LabelStudioError
from pipelines.label_studio.project import LabelStudioProject, format_time, parse_time
from tests.pipelines.fake_project import png

CONFIG = """<View><Image name="image" value="$photo"/>
 <BrushLabels name="brush" toName="image" smart="false"><Label value="Cell"/></BrushLabels>
 <RectangleLabels name="box" toName="image" smart="true" smartOnly="true">
  <Label value="Cell"/></RectangleLabels>
</View>"""
SIZE = {"original_width": 64, "original_height": 48, "image_rotation": 0, "to_name": "image"}
MASK = np.pad(np.ones((20, 30), dtype=bool), ((5, 23), (10, 24)))


@pytest.fixture
def server(stack):
    """Label Studio's API, as a labeler would call it."""
    token = stack.config.secrets.token
    with httpx.Client(
        base_url=stack.config.label_studio_url,
        headers={"Authorization": f"Token {token}"},
        trust_env=False,
        timeout=30,
    ) as client:
        yield client


@pytest.fixture
def project(stack, server):
    """A new project with three tasks: two uploaded photos and one inside its task."""
    made = server.post("/api/projects", json={"title": "collect", "label_config": CONFIG}).json()["id"]
    embedded = "data:image/png;base64," + base64.b64encode(png(2)).decode()
    for name in ("a", "b"):
        files = {"file": (f"{name}.png", png(ord(name)), "image/png")}
        server.post(f"/api/projects/{made}/import", files=files).raise_for_status()
    server.post(f"/api/projects/{made}/import", json=[{"photo": embedded}]).raise_for_status()
    yield LabelStudioProject(stack.config.label_studio_url, stack.config.secrets.token, made)
    server.delete(f"/api/projects/{made}")


def annotate(server, task, mask=MASK):
    brush = {"format": "rle", "rle": encode_brush(mask), "brushlabels": ["Cell"]}
    box = {"x": 1, "y": 1, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": ["Cell"]}
    result = [
        {
            **SIZE,
            "id": "region-1",
            "type": "brushlabels",
            "from_name": "brush",
            "value": brush,
            "meta": {"prompts": 2},
        },
        {**SIZE, "id": "region-2", "type": "rectanglelabels", "from_name": "box", "value": box},
    ]
    made = server.post(f"/api/tasks/{task}/annotations", json={"result": result})
    return made.raise_for_status().json()["id"]


@pytest.mark.stack
def test_collect__what_a_person_saved_and_changed(server, project, tmp_path):
    assert project.image_key == "photo"
    assert project.prompt_controls == {"box"}
    tasks = list(project.changed_tasks(""))
    assert len(tasks) == 3
    for task in tasks:
        assert cv2.imdecode(np.frombuffer(project.image(task.image), np.uint8), cv2.IMREAD_COLOR).shape == (
            48,
            64,
            3,
        )

    annotations = [annotate(server, task.id) for task in tasks]
    first = collect(project, tmp_path, Snapshot())
    assert (first.masks, first.dropped) == (3, ())
    row = read_rows(tmp_path, first.snapshot).to_pylist()[0]
    assert (decode_coco({"size": [48, 64], "counts": row["rle"]}) == MASK).all()
    assert '"prompts": 2' in row["meta"]

    assert collect(project, tmp_path, first.snapshot).masks == 0

    server.patch(f"/api/annotations/{annotations[0]}", json={"was_cancelled": False, "result": []})
    server.delete(f"/api/annotations/{annotations[1]}")
    annotate(server, tasks[2].id, ~MASK)
    second = collect(project, tmp_path, first.snapshot)
    kept = newest_masks(read_rows(tmp_path, second.snapshot).to_pandas())
    assert list(kept["task_id"]) == [tasks[2].id]
    assert (decode_coco({"size": [48, 64], "counts": kept["rle"].iloc[0]}) == ~MASK).all()

    # the mark of the one goes to the other without a word about the first
    server.patch(f"/api/annotations/{annotations[2]}", json={"ground_truth": True})
    third = collect(project, tmp_path, second.snapshot)
    kept = newest_masks(read_rows(tmp_path, third.snapshot).to_pandas())
    assert list(kept["annotation_id"]) == [annotations[2]]

    assert dict(project.listed_tasks()) == {tasks[0].id: 1, tasks[1].id: 0, tasks[2].id: 2}
    assert project.survey(0).annotations == 3
    server.delete(f"/api/tasks/{tasks[2].id}")
    assert project.survey(tasks[2].id).earlier == 2
    fourth = collect(project, tmp_path, third.snapshot)
    assert newest_masks(read_rows(tmp_path, fourth.snapshot).to_pandas()).empty
    assert collect(project, tmp_path, fourth.snapshot).snapshot.shards == fourth.snapshot.shards


@pytest.mark.stack
def test_collect__what_was_saved_while_the_clock_was_behind(server, project, tmp_path):
    """As a cursor ahead of the clock: what is saved now is before it."""
    tasks = list(project.changed_tasks(""))
    annotate(server, tasks[0].id)
    skipped = {"result": [], "was_cancelled": True}
    server.post(f"/api/tasks/{tasks[1].id}/annotations", json=skipped).raise_for_status()
    first = collect(project, tmp_path, Snapshot()).snapshot
    assert first.annotations == 1, "one that is cancelled does not count"
    ahead = replace(first, cursor=format_time(parse_time(first.cursor) + timedelta(hours=1)))
    assert collect(project, tmp_path, ahead).unseen == ()
    annotate(server, tasks[2].id)
    second = collect(project, tmp_path, ahead)
    assert (second.masks, second.unseen) == (1, (tasks[2].id,))


@pytest.mark.stack
def test_changed_tasks__pages_do_not_shift_when_a_task_is_deleted(server, project, monkeypatch):
    monkeypatch.setattr("pipelines.label_studio.project.PAGE_SIZE", 1)
    tasks = project.changed_tasks("")
    first = next(tasks)
    server.delete(f"/api/tasks/{first.id}")
    assert [task.id for task in tasks] == [first.id + 1, first.id + 2]


@pytest.mark.stack
def test_task__one_alone_is_as_in_the_list(server, project):
    (first, *_) = project.changed_tasks("")
    annotate(server, first.id)
    listed = next(iter(project.changed_tasks("")))
    alone = project.task(first.id)
    assert (alone.id, alone.image, alone.updated_at) == (listed.id, listed.image, listed.updated_at)
    assert alone.annotations[0]["updated_at"] == listed.annotations[0]["updated_at"]
    assert alone.annotations[0]["result"][0]["value"] == listed.annotations[0]["result"][0]["value"]
    assert project.task(10**6) is None


@pytest.mark.stack
def test_project__wrong_token_project_or_image(stack, project):
    with pytest.raises(LabelStudioError, match="MASKLOOP_LABEL_STUDIO_TOKEN"):
        LabelStudioProject(stack.config.label_studio_url, "0" * 40, project.project).survey(0)
    with pytest.raises(LabelStudioError, match="MASKLOOP_LABEL_STUDIO_PROJECT"):
        LabelStudioProject(stack.config.label_studio_url, stack.config.secrets.token, 10**6).survey(0)
    with pytest.raises(LabelStudioError, match="is not on"):
        project.image("http://elsewhere.example/photo.png")
    with pytest.raises(LabelStudioError, match="nothing"):
        project.image("/data/upload/nothing.png")


def test_project__label_studio_is_down():
    with pytest.raises(LabelStudioError, match=r"http://127\.0\.0\.1:9 does not answer.*start it"):
        LabelStudioProject("http://127.0.0.1:9", "0" * 40, 1).survey(0)


def test_image__damaged_data_uri():
    project = LabelStudioProject("http://127.0.0.1:9", "0" * 40, 1)
    with pytest.raises(LabelStudioError, match="holds no image"):
        project.image("data:image/png;base64,%%%")


def test_times__there_and_back():
    assert format_time(parse_time("2026-11-22T06:45:48.000001Z")) == "2026-11-22T06:45:48.000001Z"
    assert format_time("2026-11-22T08:45:48+02:00") == "2026-11-22T06:45:48.000000Z"
