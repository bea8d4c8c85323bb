"""Pre-annotation of a project, on a Label Studio that runs, with the committed checkpoint."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

import httpx
import numpy as np
import pytest

from maskloop.evaluation import BatchSegmenter
from maskloop.images import decode_image
from maskloop.masks import decode_brush, polygon_to_mask
from maskloop.metrics import intersection_over_union
from maskloop.predictor import Prediction, Predictor, Request
from maskloop.proposals import ProposalConfig
from pipelines.data.samples import SamplePhoto, load_samples
from pipelines.errors import InterfaceError
from pipelines.label_studio.client import LabelStudio
from pipelines.label_studio.interface import build_interface
from pipelines.label_studio.preannotation import BOXES, Model, Outcome, Plan, preannotate
from pipelines.label_studio.project import LabelStudioProject
from pipelines.stack import catalog
from pipelines.stack.config import REPOSITORY
from pipelines.stack.prefect_api import prefect_command
from pipelines.stack.project import uploaded_name
from pipelines.stack.up import Stack

pytestmark = pytest.mark.stack

NAMES = ("flower", "coins", "rocket")


@pytest.fixture(scope="module")
def model() -> Model:
    predictor = Predictor.load(REPOSITORY / "checkpoints" / "default")
    return Model(predictor, "tested-1", predictor.sha256)


@pytest.fixture(scope="module")
def photos() -> dict[str, SamplePhoto]:
    return {f"{photo.name}{photo.suffix}": photo for photo in load_samples() if photo.name in NAMES}


@pytest.fixture
def client(stack: Stack, project: int, photos: dict[str, SamplePhoto]) -> LabelStudio:
    """The project takes brush masks of one label, and has three photos, and one that is on another host."""
    client = stack.label_studio
    client.update_project(project, label_config=build_interface(["Object"]))
    for name, photo in photos.items():
        client.upload(project, name, photo.image_bytes)
    client.upload(project, "broken.json", b'[{"image": "http://elsewhere.example/a.png"}]')
    return client


def run(stack: Stack, project: int, model: Model, plan: Plan) -> tuple[Outcome, list[str]]:
    told: list[str] = []
    images = LabelStudioProject(stack.config.label_studio_url, stack.config.secrets.token, project)
    return preannotate(stack.label_studio, images, project, model, plan, told.append), told


def add_boxes(client: LabelStudio, project: int, photos: dict[str, SamplePhoto], label: str) -> None:
    """A detector's rectangle around the first object of each photo."""
    for task in client.tasks(project):
        photo = photos.get(uploaded_name(task))
        if photo is not None:
            rectangle = {"result": [box_around(photo, label)], "model_version": "detector"}
            client.add_predictions(project, [{"task": task["id"], **rectangle}])


def box_around(photo: SamplePhoto, label: str) -> dict[str, object]:
    mask = drawn(photo)
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = mask.shape
    value = {
        "x": cols[0] / width * 100,
        "y": rows[0] / height * 100,
        "width": (cols[-1] + 1 - cols[0]) / width * 100,
        "height": (rows[-1] + 1 - rows[0]) / height * 100,
        "rotation": 0,
        "rectanglelabels": [label],
    }
    size = {"original_width": width, "original_height": height, "image_rotation": 0}
    place = {"id": "rectangle1", "type": "rectanglelabels", "from_name": "box", "to_name": "image"}
    return {**place, **size, "value": value}


def drawn(photo: SamplePhoto) -> np.ndarray:
    return polygon_to_mask(photo.objects[0].rings, *decode_image(photo.image_bytes).shape[:2])


def test_boxes__one_mask_each_then_nothing_is_left(
    stack: Stack, project: int, client: LabelStudio, model: Model, photos: dict[str, SamplePhoto]
) -> None:
    add_boxes(client, project, photos, "Object")
    outcome, told = run(stack, project, model, Plan(BOXES, chunk=2))

    assert (outcome.predicted, outcome.present, outcome.masks) == (3, 0, 3)
    (failure,) = outcome.failed
    assert "http://elsewhere.example/a.png" in failure
    assert [line.split(":")[0] for line in told] == ["2 of 4 tasks", "4 of 4 tasks", "left out"]
    overlaps = []
    for task in client.tasks(project):
        for prediction in task["predictions"]:
            if prediction["model_version"] == "tested-1":
                (region,) = prediction["result"]
                photo = photos[uploaded_name(task)]
                mask = decode_brush(region["value"]["rle"], *drawn(photo).shape)
                overlaps.append(intersection_over_union(mask, drawn(photo)))
                assert region["value"]["brushlabels"] == ["Object"]
                assert region["meta"]["sha256"] == model.sha256
                assert prediction["score"] == pytest.approx(region["score"], abs=1e-4)
    assert len(overlaps) == 3
    assert np.mean(overlaps) > 0.6

    again, _ = run(stack, project, model, Plan(BOXES))
    assert (again.predicted, again.present, len(again.failed)) == (0, 3, 1)


def test_boxes__unknown_label_costs_its_own_task(
    stack: Stack, project: int, client: LabelStudio, model: Model, photos: dict[str, SamplePhoto]
) -> None:
    add_boxes(client, project, photos, "Object")
    (first, *_) = client.tasks(project)
    stray = box_around(photos[uploaded_name(first)], "Object")
    stray["value"] = {**stray["value"], "rectanglelabels": ["Cat"]}  # type: ignore[dict-item]
    client.submit(first["id"], [stray], 1.0)

    outcome, _ = run(stack, project, model, Plan(BOXES))

    assert outcome.predicted == 2
    assert any("labels that the project has not: 'Cat'" in failure for failure in outcome.failed)


class CutOff(Exception):
    pass


class Dying:
    """Answers a few requests, then its process is killed."""

    def __init__(self, segmenter: BatchSegmenter, answers: int) -> None:
        self.segmenter, self.left = segmenter, answers

    def predict_batch(self, requests: Sequence[Request]) -> list[Prediction]:
        if not self.left:
            raise CutOff
        self.left -= 1
        return self.segmenter.predict_batch(requests)


def test_boxes__cut_off_and_started_again(
    stack: Stack, project: int, client: LabelStudio, model: Model, photos: dict[str, SamplePhoto]
) -> None:
    add_boxes(client, project, photos, "Object")
    with pytest.raises(CutOff):
        run(stack, project, replace(model, segmenter=Dying(model.segmenter, 2)), Plan(BOXES, chunk=1))

    outcome, _ = run(stack, project, model, Plan(BOXES))

    assert (outcome.present, outcome.predicted) == (2, 1)
    assert client.prediction_counts(project)["tested-1"] == 3


def test_auto__label_studio_shows_and_sorts_the_scores(
    stack: Stack, project: int, client: LabelStudio, model: Model, photos: dict[str, SamplePhoto]
) -> None:
    outcome, _ = run(stack, project, model, Plan(proposals=ProposalConfig(grid=5, limit=2)))

    assert outcome.predicted == 3
    about = client.project_numbered(project)
    assert (about["model_version"], about["show_collab_predictions"]) == ("tested-1", True)
    url = stack.config.label_studio_url
    answer = httpx.get(
        f"{url}/api/tasks",
        params={
            "project": project,
            "fields": "all",
            "query": json.dumps({"ordering": ["tasks:predictions_score"]}),
        },
        headers={"Authorization": f"Token {stack.config.secrets.token}"},
        trust_env=False,
    )
    shown = {uploaded_name(task): task["predictions_score"] for task in answer.json()["tasks"]}
    scores = [shown[name] for name in photos]
    assert all(score is not None for score in scores)
    stored = [task["predictions"][0]["score"] for task in client.tasks(project) if task["predictions"]]
    assert sorted(scores) == pytest.approx(sorted(stored))


def test_auto__needs_one_label(stack: Stack, project: int, client: LabelStudio, model: Model) -> None:
    client.update_project(project, label_config=build_interface(["Cat", "Dog"]))
    with pytest.raises(InterfaceError, match="the labels Cat, Dog: choose one with --label"):
        run(stack, project, model, Plan())
    with pytest.raises(InterfaceError, match="has no label 'Cow': it has Cat, Dog"):
        run(stack, project, model, Plan(label="Cow"))
    with pytest.raises(InterfaceError, match="choose auto or boxes"):
        run(stack, project, model, Plan("masks"))


def test_interface__takes_no_masks(stack: Stack, project: int, client: LabelStudio, model: Model) -> None:
    client.update_project(project, label_config='<View><Image name="image" value="$image"/></View>')
    with pytest.raises(InterfaceError, match="takes no masks"):
        run(stack, project, model, Plan())


def test_flow__by_the_champion(stack: Stack, project: int, photos: dict[str, SamplePhoto]) -> None:
    client, config = stack.label_studio, stack.config
    client.update_project(project, label_config=build_interface(["Object"]))
    client.upload(project, "photo.png", next(iter(photos.values())).image_bytes)
    flow = "from pipelines.flows.preannotate import preannotate; preannotate(limit=1)"

    done = subprocess.run(
        [sys.executable, "-c", flow],
        env=os.environ | catalog.prefect_environment(config) | catalog.flow_environment(config, project),
        cwd=config.root,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "1 masks for 1 tasks" in done.stderr
    assert client.prediction_counts(project) == {"maskloop-v1": 1}
    assert "preannotate/preannotate" in prefect_command(config, "deployment", "ls")
