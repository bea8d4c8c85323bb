"""Prioritizing without a server: what is written, what is left alone, what a run that was cut off costs."""

import copy
from collections.abc import Iterator
from typing import Any

import cv2
import pytest

from maskloop.errors import SelectionError
from maskloop.selection.store import ProfileStore
from pipelines.errors import LabelStudioError
from pipelines.label_studio.interface import build_interface
from pipelines.label_studio.preannotation import Model
from pipelines.label_studio.prioritizing import RANKING, VIEW, Outcome, Plan, markdown, prioritize
from pipelines.stack.errors import RefusedError
from tests.selection.striped import READS_DOUBT, Striped, image

MASK = {"id": "r1", "type": "brushlabels", "value": {"format": "rle", "rle": [0], "brushlabels": ["Cell"]}}
CLICKS = Plan(strategy="clicks", calibration=READS_DOUBT)


class Images:
    """An address says how unsure the segmenter is of its image."""

    def __init__(self) -> None:
        self.fetched = 0

    def image(self, reference: str) -> bytes:
        self.fetched += 1
        if not reference.isdecimal():
            raise LabelStudioError(f"Image {reference!r}: Label Studio answered 404.")
        pixels = image(int(reference), (int(reference) % 7, 0))
        return cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()


class FakeLabelStudio:
    """Tasks in memory."""

    url = "http://label.example"

    def __init__(self, doubts: list[Any]) -> None:
        self.all = [task(number, doubt) for number, doubt in enumerate(doubts, start=1)]
        self.about: dict[str, Any] = {
            "id": 1,
            "label_config": build_interface(["Cell"]),
            "model_version": "v1",
            "show_collab_predictions": True,
        }
        self.refused: set[int] = set()
        self.kept_views: list[dict[str, Any]] = []
        self.created = 0

    def project_numbered(self, _: int) -> dict[str, Any]:
        return copy.deepcopy(self.about)

    def unlabelled(self, _: int, size: int = 200, whole: bool = False) -> Iterator[list[dict[str, Any]]]:
        for start in range(0, len(self.all), size):
            yield copy.deepcopy([one for one in self.all[start : start + size] if not one["annotations"]])

    def labelled(self, _: int, size: int = 200) -> Iterator[list[dict[str, Any]]]:
        yield [one for one in self.all if one["annotations"]]

    def add_predictions(self, _: int, predictions: list[dict[str, Any]]) -> int:
        if self.refused & {one["task"] for one in predictions}:
            raise RefusedError("a prediction is not valid", 400)
        for one in predictions:
            self.created += 1
            self.all[one["task"] - 1]["predictions"].append({**one, "id": self.created})
        return len(predictions)

    def prediction_counts(self, _: int) -> dict[str, int]:
        versions = [one["model_version"] for task in self.all for one in task["predictions"]]
        return {version: versions.count(version) for version in versions}

    def delete_predictions(self, _: int, version: str) -> None:
        for one in self.all:
            one["predictions"] = [kept for kept in one["predictions"] if kept["model_version"] != version]

    def update_project(self, _: int, **fields: object) -> None:
        self.about |= fields

    def views(self, _: int) -> list[dict[str, Any]]:
        return self.kept_views

    def create_view(self, _: int, data: dict[str, Any]) -> None:
        self.kept_views.append({"id": len(self.kept_views) + 1, "data": data})

    def update_view(self, view: int, _: int, data: dict[str, Any]) -> None:
        self.kept_views[view - 1]["data"] = data

    def add_masks(self, version: str, numbers: list[int]) -> None:
        self.add_predictions(
            1, [{"task": one, "model_version": version, "score": 0.5, "result": [MASK]} for one in numbers]
        )

    def ranking(self) -> dict[int, dict[str, Any]]:
        """The prediction of each task that the project goes by."""
        return {
            task["id"]: one
            for task in self.all
            for one in task["predictions"]
            if one["model_version"] == self.about["model_version"]
            and one["model_version"].startswith(RANKING)
        }


def task(number: int, doubt: Any) -> dict[str, Any]:
    time = f"2026-01-01T00:00:{number:02d}Z"
    data = {"image": str(doubt)}
    return {"id": number, "data": data, "updated_at": time, "annotations": [], "predictions": []}


@pytest.fixture
def kept(tmp_path) -> Iterator[ProfileStore]:
    with ProfileStore(tmp_path / "profiles.sqlite", "a" * 64) as store:
        yield store


def run(client: FakeLabelStudio, kept: ProfileStore, plan: Plan = CLICKS, images: Any = None) -> Outcome:
    model = Model(Striped(), "maskloop-v2", "a" * 64)
    return prioritize(client, images or Images(), 1, model, kept, plan, lambda _: None)  # type: ignore[arg-type]


def order(client: FakeLabelStudio) -> list[int]:
    """As Label Studio serves the tasks: the lowest score first."""
    ranking = client.ranking()
    return sorted(ranking, key=lambda number: ranking[number]["score"])


def test_prioritize__lowest_score_for_the_first_task(kept):
    client = FakeLabelStudio([90, 10, 50])
    outcome = run(client, kept)
    assert outcome.order == (1, 3, 2)
    assert outcome.clicks == pytest.approx((10, 6, 2))
    assert order(client) == [1, 3, 2]
    assert [client.ranking()[number]["score"] for number in (1, 3, 2)] == pytest.approx(
        [1 / 3, 2 / 3, 1], abs=1e-6
    )
    (view,) = client.kept_views
    assert (view["data"]["title"], view["data"]["ordering"]) == (VIEW, ["tasks:predictions_score"])


def test_prioritize__masks_of_before_stay_in_sight(kept):
    client = FakeLabelStudio([90, 10, 50])
    client.add_masks("v0", [1, 2])
    client.add_masks("v1", [1])
    for one in client.all[0]["predictions"]:
        one["result"] = [{**MASK, "id": one["model_version"]}]
    run(client, kept)
    shown = {number: [region["id"] for region in one["result"]] for number, one in client.ranking().items()}
    assert shown == {1: ["v1"], 2: ["r1"], 3: []}
    # the next ranking takes them from where they came from, not from the one before
    client.all[2]["annotations"] = [{}]
    run(client, kept)
    assert {number: len(one["result"]) for number, one in client.ranking().items()} == {1: 1, 2: 1}
    assert client.prediction_counts(1) == {"v0": 2, "v1": 1, client.about["model_version"]: 2}


def test_prioritize__no_masks_where_none_are_shown(kept):
    client = FakeLabelStudio([90, 10])
    client.add_masks("v1", [1, 2])
    client.about["show_collab_predictions"] = False
    run(client, kept)
    assert [one["result"] for one in client.ranking().values()] == [[], []]


def test_prioritize__newer_masks_are_taken_along_though_the_order_is_the_same(kept):
    client = FakeLabelStudio([90, 10])
    run(client, kept)
    client.add_masks("v2", [1, 2])
    assert run(client, kept).written == 2
    assert [len(one["result"]) for one in client.ranking().values()] == [1, 1]


def test_prioritize__again_changes_nothing(kept):
    client, images = FakeLabelStudio([90, 10, 50]), Images()
    first = run(client, kept, images=images)
    before = copy.deepcopy((client.all, client.about, client.kept_views))
    again = run(client, kept, images=images)
    assert (again.version, again.looked, again.written) == (first.version, 0, 0)
    assert (client.all, client.about, client.kept_views) == before
    assert images.fetched == 3


def test_prioritize__only_new_images_are_looked_at(kept):
    client = FakeLabelStudio([90, 10, 50])
    run(client, kept)
    client.all += [task(4, 30), task(5, 90)]  # the second is the image of the first task once more
    outcome = run(client, kept)
    assert (outcome.looked, len(outcome.order)) == (1, 5)


def test_prioritize__labelled_task_is_left_alone(kept):
    client = FakeLabelStudio([90, 10, 50])
    client.all[1]["annotations"] = [{}]
    assert run(client, kept).order == (1, 3)
    assert not client.all[1]["predictions"]


def test_prioritize__labelled_meanwhile(kept):
    client = FakeLabelStudio([90, 10, 50])

    class Meanwhile(Images):
        def image(self, reference: str) -> bytes:
            client.all[1]["annotations"] = [{}]
            return super().image(reference)

    outcome = run(client, kept, images=Meanwhile())
    assert (outcome.order, outcome.written) == ((1, 3, 2), 2)
    assert sorted(client.ranking()) == [1, 3]


def test_prioritize__cut_off_while_looking_goes_on(kept):
    client = FakeLabelStudio([90, 10, 50, 30])

    class Dying(Images):
        def image(self, reference: str) -> bytes:
            if self.fetched == 3:
                raise KeyboardInterrupt
            return super().image(reference)

    with pytest.raises(KeyboardInterrupt):
        run(client, kept, images=Dying())
    assert client.about["model_version"] == "v1"
    assert run(client, kept).looked == 1


def test_prioritize__cut_off_while_writing_leaves_the_last_ranking(kept):
    client = FakeLabelStudio([90, 10, 50, 30])
    old = run(client, kept).version
    client.all += [task(5, 70)]
    whole = client.add_predictions

    def dying(project: int, predictions: list[dict[str, Any]]) -> int:
        client.add_predictions = stopped  # type: ignore[method-assign]
        return whole(project, predictions)

    def stopped(*_: object) -> int:
        raise KeyboardInterrupt

    client.add_predictions = dying  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run(client, kept, Plan(strategy="clicks", calibration=READS_DOUBT, chunk=2))
    assert (client.about["model_version"], len(client.ranking())) == (old, 4)
    client.add_predictions = whole  # type: ignore[method-assign]
    outcome = run(client, kept)
    assert outcome.written == 3
    assert order(client) == list(outcome.order)
    assert [name for name in client.prediction_counts(1) if name.startswith(RANKING)] == [outcome.version]


@pytest.mark.parametrize("doubt", ["gone", ""])
def test_prioritize__unreadable_image_costs_its_task(kept, doubt):
    client = FakeLabelStudio([90, doubt, 50])
    outcome = run(client, kept)
    assert outcome.order == (1, 3)
    assert outcome.failed[0].startswith("task 2: ")


def test_prioritize__refused_prediction_costs_its_task(kept):
    client = FakeLabelStudio([90, 10, 50])
    client.refused = {2}
    outcome = run(client, kept)
    assert (sorted(client.ranking()), outcome.written) == ([1, 3], 2)
    assert outcome.failed == ["task 2: a prediction is not valid"]


def test_prioritize__budget_scores_what_it_pays_for(kept):
    client = FakeLabelStudio([100] * 5)  # of 11 clicks each
    outcome = run(client, kept, Plan(strategy="clicks", calibration=READS_DOUBT, budget=66, masks=2))
    assert len(outcome.order) == 3
    assert len(client.ranking()) == 3


def test_prioritize__limit_draws_mostly_the_same(kept):
    client = FakeLabelStudio(list(range(1, 31)))
    plan = Plan(strategy="clicks", calibration=READS_DOUBT, limit=10)
    first = run(client, kept, plan)
    client.all.append(task(31, 31))
    again = run(client, kept, plan)
    assert (len(first.order), len(again.order)) == (10, 10)
    assert again.looked <= 1


def test_prioritize__random_looks_at_nothing(kept):
    client, images = FakeLabelStudio([90, 10, 50, "gone"]), Images()
    outcome = run(client, kept, Plan(strategy="random"), images)
    assert (sorted(outcome.order), images.fetched) == ([1, 2, 3, 4], 0)
    assert order(client) == list(outcome.order)


def test_prioritize__gain_compares_with_what_is_labelled(kept):
    client = FakeLabelStudio([8, 1, 8])
    client.all[2]["annotations"] = [{}]
    outcome = run(client, kept, Plan(calibration=READS_DOUBT))
    assert outcome.looked == 2  # the twin's image is known already
    assert sorted(outcome.order) == [1, 2]


def test_prioritize__nothing_is_left(kept):
    client = FakeLabelStudio([90])
    client.all[0]["annotations"] = [{}]
    outcome = run(client, kept)
    assert (outcome.version, client.about["model_version"], client.kept_views) == ("", "v1", [])
    assert "no task to rank" in str(outcome)


def test_prioritize__view_that_people_changed_keeps_its_columns(kept):
    client = FakeLabelStudio([90, 10])
    run(client, kept)
    client.kept_views[0]["data"] |= {"hiddenColumns": {"explore": ["tasks:id"]}, "ordering": ["-tasks:id"]}
    run(client, kept)
    (view,) = client.kept_views
    assert view["data"]["ordering"] == ["tasks:predictions_score"]
    assert view["data"]["hiddenColumns"] == {"explore": ["tasks:id"]}


def test_plan__unknown_strategy():
    with pytest.raises(SelectionError, match="unknown strategy 'best'"):
        Plan(strategy="best")


def test_markdown__links_the_first_tasks(kept):
    outcome = run(FakeLabelStudio([90, 10, "gone"]), kept)
    text = markdown(outcome, "http://label.example", 1)
    assert "| 1 | [1](http://label.example/projects/1/data?task=1) | 10.0 |" in text
    assert "left out: task 3: " in text
