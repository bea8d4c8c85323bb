"""What a row says of a mask: its pixels by every shape, who suggested it, what was changed and clicked."""

import json
import math

import numpy as np
import pytest

from maskloop.clicks import Click
from maskloop.masks import _pack, _tokens, decode_coco, encode_brush
from maskloop.regions import region_value
from maskloop.runs import Runs
from maskloop.sketches import Sketch
from pipelines.data.collect import collect
from pipelines.data.shards import Row, newest_masks, read_rows, write_shards
from pipelines.data.snapshot import Snapshot
from tests.pipelines.fake_project import FakeProject, png

TIME = "2026-11-22T07:00:00.000000Z"


class Drawing(FakeProject):
    """One task of 8 x 10 pixels with one annotation."""

    def __init__(self, *results, **annotation):
        super().__init__()
        annotation = {"id": 1, "updated_at": TIME, "completed_by": 1, "result": list(results)} | annotation
        self.tasks = [{"id": 7, "updated_at": TIME, "data": {"image": "a"}, "annotations": [annotation]}]
        self.images = {"a": png(0, 8, 10)}

    def image(self, reference):
        self.fetched = True
        return super().image(reference)


def drawn(kind, value, **more):
    size = {"original_width": 10, "original_height": 8, "image_rotation": 0}
    return {"id": "r1", "type": kind, "from_name": "tool", "value": value, **size, **more}


def rows_of(project, root, **options):
    return read_rows(root, collect(project, root, Snapshot(), **options).snapshot).to_pylist()


def picture(text):
    return np.array([[character == "#" for character in line] for line in text.split()])


def levels(*alphas):
    """A brush whose first pixels have these alpha levels, and the others none, as the editor smooths it."""
    pixels = np.zeros((80, 4), np.int64)
    pixels[: len(alphas), 3] = alphas
    flat = pixels.ravel()
    return {"format": "rle", "rle": list(_pack(flat.size, *_tokens(np.ones_like(flat), flat)))}


TWO_BY_THREE = """
.......... .......... ..###..... ..###..... .......... .......... .......... ..........
"""
RING = """
########## ########## ##......## ##......## ##......## ##......## ########## ##########
"""
# an outer ring of 10 x 8 pixels, in along row 2 to the hole of 6 x 4 pixels, and the same way back
KEYHOLE = [(0, 0), (100, 0), (100, 100), (0, 100), (0, 25), (20, 25), (20, 75), (80, 75), (80, 25), (20, 25)]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("brushlabels", {"format": "rle", "rle": encode_brush(picture(TWO_BY_THREE))}, TWO_BY_THREE),
        ("brushlabels", levels(127, 128, 255, 1), ".##......." + 7 * " .........."),
        ("bitmasklabels", region_value(picture(RING), "bitmask"), RING),
        ("rectanglelabels", {"x": 20, "y": 25, "width": 30, "height": 25, "rotation": 0}, TWO_BY_THREE),
        # turned by a quarter about its corner, the lower edge comes to lie at the left
        ("rectanglelabels", {"x": 50, "y": 25, "width": 20, "height": 37.5, "rotation": 90}, TWO_BY_THREE),
        ("polygonlabels", {"points": [[20, 25], [50, 25], [50, 50], [20, 50]]}, TWO_BY_THREE),
        ("polygonlabels", {"points": [*KEYHOLE, (0, 25)]}, RING),
        (
            # centre between columns 4 and 5 and rows 3 and 4; 2.2 pixels across, 1.6 down
            "ellipselabels",
            {"x": 50, "y": 50, "radiusX": 22, "radiusY": 20, "rotation": 0},
            ".......... .......... ....##.... ...####... ...####... ....##.... .......... ..........",
        ),
    ],
)
def test_collect__pixels_of_every_shape(tmp_path, kind, value, expected):
    (row,) = rows_of(Drawing(drawn(kind, value)), tmp_path)
    mask = decode_coco({"size": [8, 10], "counts": row["rle"]})
    np.testing.assert_array_equal(mask, picture(expected))


def brush(mask, **more):
    return drawn("brushlabels", {"format": "rle", "rle": encode_brush(mask)}, **more)


def suggested(mask, **more):
    sketch = str(Sketch.of(Runs.of(mask)))
    return {"model": "maskloop-v3", "sha256": "ab", "prompts": 2, "sketch": sketch} | more


ANSWER = picture(RING)
HALF = ANSWER & (np.arange(10) < 5)


def test_row__suggestion_that_was_kept_as_it_is(tmp_path):
    (row,) = rows_of(Drawing(brush(ANSWER, meta=suggested(ANSWER))), tmp_path)
    assert (row["model"], row["prompts"], row["changed"]) == ("maskloop-v3", 2, 0.0)
    assert json.loads(row["meta"])["meta"]["sha256"] == "ab"


def test_row__person_erased_half_of_it(tmp_path):
    (row,) = rows_of(Drawing(brush(HALF, meta=suggested(ANSWER))), tmp_path)
    assert row["changed"] == 0.5


def test_row__polygon_whose_points_were_rounded_is_not_changed(tmp_path):
    value = region_value(ANSWER, "polygon")
    value["points"] = np.round(value["points"], 2).tolist()
    (row,) = rows_of(Drawing(drawn("polygonlabels", value, meta=suggested(ANSWER))), tmp_path)
    assert row["changed"] == 0


def test_row__drawn_by_hand(tmp_path):
    (row,) = rows_of(Drawing(brush(ANSWER)), tmp_path)
    assert (row["model"], row["prompts"], row["clicks"], row["ground_truth"]) == ("", 0, "[]", False)
    assert math.isnan(row["changed"])


@pytest.mark.parametrize(
    "meta",
    [
        "a note",
        ["a note"],
        {"text": ["a note"]},
        {"model": 3, "prompts": "2", "sketch": 1},
        {"model": None, "prompts": True, "sketch": "nonsense"},
        {"model": [], "prompts": -1, "sketch": None},
        {"prompts": 10**30},
    ],
)
def test_row__person_wrote_into_meta(tmp_path, meta):
    (row,) = rows_of(Drawing(brush(ANSWER, meta=meta)), tmp_path)
    assert (row["model"], row["prompts"]) == ("", 0)
    assert math.isnan(row["changed"])


def test_row__note_beside_the_provenance(tmp_path):
    (row,) = rows_of(Drawing(brush(ANSWER, meta=suggested(ANSWER, text=["a note"]))), tmp_path)
    assert (row["model"], row["changed"]) == ("maskloop-v3", 0)


def test_row__clicks_are_looked_up_by_task_region_and_mask(tmp_path):
    asked = []

    def clicks(task, region, mask):
        asked.append((task, region, mask.area))
        return [Click(1.25, 2), Click(3, 4, positive=False)]

    (row,) = rows_of(Drawing(brush(ANSWER)), tmp_path, clicks=clicks)
    assert asked == [(7, "r1", int(ANSWER.sum()))]
    assert json.loads(row["clicks"]) == [[1.25, 2, 1], [3, 4, 0]]


def test_collect__cancelled_annotation_costs_no_image(tmp_path):
    project = Drawing(brush(ANSWER), was_cancelled=True)
    project.images = {}
    collected = collect(project, tmp_path, Snapshot())
    assert collected.dropped == ("task 7, annotation 1: cancelled",)
    assert not hasattr(project, "fetched")


def annotated(number, minute, **values):
    time = f"2026-11-22T07:{minute:02}:00.000000Z"
    return {"id": number, "updated_at": time, "completed_by": number, "result": [brush(ANSWER)]} | values


def counting(root, snapshot):
    return [int(number) for number in newest_masks(read_rows(root, snapshot).to_pandas())["annotation_id"]]


def test_newest_masks__ground_truth_before_later_annotations(tmp_path):
    project = Drawing()
    task = project.tasks[0]
    task["annotations"] = [annotated(1, 1), annotated(2, 2, ground_truth=True), annotated(3, 3)]
    snapshot = collect(project, tmp_path, Snapshot()).snapshot
    assert snapshot.masks == 3, "the versions of all annotators are kept"
    assert counting(tmp_path, snapshot) == [2]

    # as Label Studio does it: the mark moves, but only the annotation that gets it has a new time
    task["annotations"] = [annotated(1, 4, ground_truth=True), annotated(2, 2), annotated(3, 3)]
    task["updated_at"] = "2026-11-22T07:04:00.000000Z"
    snapshot = collect(project, tmp_path, snapshot).snapshot
    assert counting(tmp_path, snapshot) == [1]

    task["annotations"][0] |= {"ground_truth": False, "updated_at": "2026-11-22T07:05:00.000000Z"}
    task["updated_at"] = "2026-11-22T07:05:00.000000Z"
    snapshot = collect(project, tmp_path, snapshot).snapshot
    assert counting(tmp_path, snapshot) == [1], "none is marked, so the one written last counts"


def test_newest_masks__ground_truth_that_was_withdrawn(tmp_path):
    project = Drawing()
    task = project.tasks[0]
    task["annotations"] = [annotated(1, 1, ground_truth=True), annotated(2, 2)]
    snapshot = collect(project, tmp_path, Snapshot()).snapshot
    del task["annotations"][0]
    task["updated_at"] = "2026-11-22T07:05:00.000000Z"
    assert counting(tmp_path, collect(project, tmp_path, snapshot).snapshot) == [2]


def test_write_shards__holds_no_more_rows_than_one_file(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.data.shards.ROWS_PER_FILE", 2)
    written = []

    def rows():
        for number in range(5):
            written.append(len(list(tmp_path.rglob("*.parquet"))))
            yield Row(1, number, number, "r", TIME, 1, "Cell", 8, 10, "rle", "ab", "{}")

    shards = write_shards(tmp_path, "0001", rows())
    assert written == [0, 0, 1, 1, 2]
    assert [(shard.name, shard.rows) for shard in shards] == [
        ("part-0001-0.parquet", 2),
        ("part-0001-1.parquet", 2),
        ("part-0001-2.parquet", 1),
    ]
    assert read_rows(tmp_path, Snapshot(shards=shards))["task_id"].to_pylist() == [0, 1, 2, 3, 4]
