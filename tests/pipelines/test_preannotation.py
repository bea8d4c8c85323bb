"""Pre-annotation without a server: which tasks get a prediction, and what one that fails costs."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from maskloop.masks import decode_brush
from maskloop.predictor import Prediction, Request
from pipelines.errors import InterfaceError, LabelStudioError
from pipelines.label_studio.interface import build_interface
from pipelines.label_studio.preannotation import (
    BOXES,
    CHUNK,
    Model,
    Outcome,
    Plan,
    finish,
    preannotate,
    predict_tasks,
    task_shards,
)
from pipelines.stack.errors import RefusedError
from tests.pipelines.fake_project import png

HEIGHT, WIDTH = 48, 64
BOX = (12, 16, 36, 48)


class BoxSegmenter:
    """Its mask of a box is the box, with a probability of 0.75."""

    def predict_batch(self, requests: Sequence[Request]) -> list[Prediction]:
        return [self._prediction(request) for request in requests]

    def _prediction(self, request: Request) -> Prediction:
        assert request.box is not None
        top, left, bottom, right = request.box
        probability = np.zeros((HEIGHT, WIDTH), np.float32)
        probability[top:bottom, left:right] = 0.75
        return Prediction(probability)


class Images:
    def image(self, reference: str) -> bytes:
        if reference == "gone":
            raise LabelStudioError(f"Image {reference!r}: Label Studio answered 404.")
        return b"no image" if reference == "damaged" else png(0, HEIGHT, WIDTH)


class FakeLabelStudio:
    """Tasks in memory. `refused` are those whose predictions it does not take."""

    def __init__(self, tasks: list[dict[str, Any]], shape: str = "brush") -> None:
        self.all = tasks
        self.about: dict[str, Any] = {
            "label_config": build_interface(["Cell"], shape),
            "task_number": len(tasks),
        }
        self.refused: set[int] = set()
        self.chunks: list[list[int]] = []
        self.stored = 0

    def project_numbered(self, _: int) -> dict[str, Any]:
        return self.about

    def tasks_by_id(self, _: int, size: int, numbers: range | None = None) -> Iterator[list[dict[str, Any]]]:
        found = [task for task in self.all if numbers is None or task["id"] in numbers]
        for start in range(0, len(found), size):
            yield found[start : start + size]

    def task_at(self, _: int, place: int) -> int:
        return int(self.all[place]["id"])

    def delete_prediction(self, prediction: int) -> None:
        for task in self.all:
            task["predictions"] = [one for one in task["predictions"] if one.get("id") != prediction]

    def add_predictions(self, _: int, predictions: Sequence[dict[str, Any]]) -> int:
        numbers = [one["task"] for one in predictions]
        self.chunks.append(numbers)
        if self.refused & set(numbers):
            raise RefusedError("a prediction is not valid", 400)
        for task in self.all:
            for one in predictions:
                if one["task"] == task["id"]:
                    self.stored += 1
                    task["predictions"].append(one | {"id": self.stored})
        return len(predictions)

    def prediction_counts(self, _: int) -> dict[str, int]:
        versions = [one["model_version"] for task in self.all for one in task["predictions"]]
        return {version: versions.count(version) for version in versions}

    def update_project(self, _: int, **fields: object) -> None:
        self.about |= fields


def boxed(number: int, image: str = "photo") -> dict[str, Any]:
    """A task with a detector's rectangle at BOX, in percent."""
    value = {"x": 25, "y": 25, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": ["Cell"]}
    region = {"id": "r1", "type": "rectanglelabels", "from_name": "box", "to_name": "image", "value": value}
    region |= {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    detector = {"model_version": "detector", "result": [region]}
    return {"id": number, "data": {"image": image}, "annotations": [], "predictions": [detector]}


def run(client: FakeLabelStudio, version: str = "v1", chunk: int = CHUNK) -> Outcome:
    model = Model(BoxSegmenter(), version, "ab12")
    return preannotate(client, Images(), 1, model, Plan(BOXES, chunk=chunk), lambda _: None)


def test_preannotate__mask_is_stored_with_its_score_and_then_shown():
    client = FakeLabelStudio([boxed(1)])
    outcome = run(client)

    assert (outcome.predicted, outcome.masks, outcome.failed) == (1, 1, [])
    stored = client.all[0]["predictions"][-1]
    (region,) = stored["result"]
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[BOX[0] : BOX[2], BOX[1] : BOX[3]] = True
    np.testing.assert_array_equal(decode_brush(region["value"]["rle"], HEIGHT, WIDTH), expected)
    assert (stored["score"], stored["model_version"], region["meta"]["sha256"]) == (0.75, "v1", "ab12")
    assert (client.about["model_version"], client.about["show_collab_predictions"]) == ("v1", True)


@pytest.mark.parametrize("shape", ["brush", "polygon", "bitmask"])
def test_preannotate__in_the_shape_of_the_project(shape):
    client = FakeLabelStudio([boxed(1)], shape)
    run(client)
    (region,) = client.all[0]["predictions"][-1]["result"]
    assert (region["type"], region["value"][f"{shape}labels"]) == (f"{shape}labels", ["Cell"])


def test_preannotate__twenty_tasks_in_a_request():
    client = FakeLabelStudio([boxed(number) for number in range(1, 46)])
    assert run(client).predicted == 45
    assert [len(chunk) for chunk in client.chunks] == [20, 20, 5]


def test_preannotate__second_run_does_what_is_left_and_a_new_version_all():
    client = FakeLabelStudio([boxed(1), boxed(2)])
    run(client)
    client.all.append(boxed(3))
    again = run(client)
    assert (again.present, again.predicted, client.chunks[-1]) == (2, 1, [3])
    assert run(client, "v2").predicted == 3


@pytest.mark.parametrize("image", ["gone", "damaged"])
def test_preannotate__bad_image_costs_only_its_task(image):
    client = FakeLabelStudio([boxed(1), boxed(2, image), boxed(3)])
    outcome = run(client)
    assert (outcome.predicted, client.chunks) == (2, [[1, 3]])
    (failure,) = outcome.failed
    assert failure.startswith("task 2: ")


def test_preannotate__refused_prediction_costs_only_its_task():
    client = FakeLabelStudio([boxed(1), boxed(2), boxed(3)])
    client.refused = {2}
    outcome = run(client)
    assert (outcome.predicted, outcome.masks) == (2, 2)
    assert outcome.failed == ["task 2: a prediction is not valid"]
    assert client.chunks == [[1, 2, 3], [1], [2], [3]]


def test_preannotate__nothing_stored_leaves_the_project_as_it_is():
    client = FakeLabelStudio([boxed(1, "gone")])
    run(client)
    assert "model_version" not in client.about


def test_preannotate__project_takes_no_masks():
    client = FakeLabelStudio([boxed(1)])
    client.about["label_config"] = '<View><Image name="image" value="$image"/></View>'
    with pytest.raises(InterfaceError, match="takes no masks"):
        run(client)
    assert client.chunks == []


def run_shard(client: FakeLabelStudio, numbers: range, chunk: int = CHUNK) -> Outcome:
    model = Model(BoxSegmenter(), "v1", "ab12")
    return predict_tasks(client, Images(), 1, model, Plan(BOXES, chunk=chunk), lambda _: None, numbers)


def stored(client: FakeLabelStudio) -> list[dict[str, Any]]:
    """All predictions, without the names that each gets at random."""
    found = [one for task in client.all for one in task["predictions"] if one["model_version"] == "v1"]
    plain = [one | {"result": [{**region, "id": ""} for region in one["result"]], "id": 0} for one in found]
    return sorted(plain, key=lambda one: one["task"])


def project_of(*numbers: int) -> FakeLabelStudio:
    return FakeLabelStudio([boxed(number, "gone" if number == 30 else "photo") for number in numbers])


NUMBERS = (3, 4, 9, 30, 31, 77, 78)


@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_shards__predictions_of_one_process(count):
    alone, sharded = project_of(*NUMBERS), project_of(*NUMBERS)
    whole = run(alone)
    parts = task_shards(sharded, 1, count)
    outcome = sum((run_shard(sharded, part) for part in parts), Outcome())
    finish(sharded, 1, "v1", outcome)
    assert stored(sharded) == stored(alone)
    assert outcome == whole
    assert sharded.about == alone.about


def test_shards__about_as_many_tasks_each_and_none_left_out():
    client = project_of(*NUMBERS)
    parts = task_shards(client, 1, 3)
    assert [[number for number in NUMBERS if number in part] for part in parts] == [
        [3, 4],
        [9, 30],
        [31, 77, 78],
    ]
    client.all.append(boxed(500))
    assert 500 in parts[-1], "a task that was made meanwhile"
    assert task_shards(FakeLabelStudio([]), 1, 4) == [range(2**31)]


def test_shards__cut_off_and_done_again():
    client = project_of(*NUMBERS)
    first, _ = task_shards(client, 1, 2)

    def cut_off(_: int, predictions: Sequence[dict[str, Any]]) -> int:
        if client.chunks:
            raise KeyboardInterrupt
        return FakeLabelStudio.add_predictions(client, 1, predictions)

    client.add_predictions = cut_off  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run_shard(client, first, chunk=1)
    del client.add_predictions
    again = run_shard(client, first, chunk=1)
    assert (again.present, again.predicted) == (1, 2)
    assert client.prediction_counts(1)["v1"] == 3


def test_finish__deletes_what_a_process_believed_dead_stored_twice():
    client = project_of(3, 4, 9)
    outcome = run(client)
    before = stored(client)
    client.add_predictions(1, [client.all[0]["predictions"][-1], client.all[2]["predictions"][-1]])
    assert client.prediction_counts(1)["v1"] == 5
    finish(client, 1, "v1", outcome)
    assert stored(client) == before
    assert [task["predictions"][-1]["id"] for task in client.all] == [1, 2, 3], "the first ones stay"
