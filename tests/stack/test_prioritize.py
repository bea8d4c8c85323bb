"""The order of unlabelled tasks, on a Label Studio that runs, by the committed checkpoint."""

from pathlib import Path

import httpx
import pytest

from maskloop.predictor import Predictor
from maskloop.selection.store import ProfileStore
from pipelines.data.samples import load_samples
from pipelines.label_studio.interface import build_interface
from pipelines.label_studio.preannotation import Model
from pipelines.label_studio.prioritizing import VIEW, Outcome, Plan, prioritize
from pipelines.label_studio.project import LabelStudioProject
from pipelines.stack.config import REPOSITORY
from pipelines.stack.labeler import painted
from pipelines.stack.up import Stack
from tests.stack.test_preannotate import drawn

pytestmark = pytest.mark.stack

PREANNOTATED = 3


def test_prioritize__queue_and_view_follow_the_order_and_masks_stay_in_sight(
    stack: Stack, project: int, tmp_path: Path
) -> None:
    client, config = stack.label_studio, stack.config
    client.update_project(project, label_config=build_interface(["Object"]))
    photos = load_samples()[:4]
    for photo in photos:
        client.upload(project, f"{photo.name}{photo.suffix}", photo.image_bytes)
    numbers = sorted(task["id"] for task in client.tasks(project))
    shown = [
        {"task": number, "result": [painted(drawn(photo))], "score": 0.9, "model_version": "maskloop-v1"}
        for number, photo in zip(numbers[:PREANNOTATED], photos, strict=False)
    ]
    client.add_predictions(project, shown)
    client.update_project(project, model_version="maskloop-v1", show_collab_predictions=True)
    predictor = Predictor.load(REPOSITORY / "checkpoints" / "default")
    images = LabelStudioProject(config.label_studio_url, config.secrets.token, project)

    def run(plan: Plan) -> Outcome:
        model = Model(predictor, "tested-1", predictor.sha256)
        with ProfileStore(tmp_path / "profiles.sqlite", predictor.sha256) as store:
            return prioritize(client, images, project, model, store, plan, lambda _: None)

    def ask(method: str, path: str, **request: object) -> dict:
        headers = {"Authorization": f"Token {config.secrets.token}"}
        url = f"{config.label_studio_url}{path}"
        answer = httpx.request(method, url, headers=headers, trust_env=False, timeout=60, **request)
        return answer.raise_for_status().json()

    outcome = run(Plan(strategy="clicks", chunk=2))

    assert (sorted(outcome.order), outcome.looked, outcome.written) == (numbers, 4, 4)
    assert sorted(outcome.clicks, reverse=True) == list(outcome.clicks)
    (view,) = (one for one in client.views(project) if one["data"]["title"] == VIEW)
    displayed = ask("GET", "/api/tasks", params={"view": view["id"], "page_size": 10})["tasks"]
    assert [task["id"] for task in displayed] == list(outcome.order)
    # what "Label Tasks As Displayed" asks for, with what it shows: the masks of before
    labelling = {"id": "next_task", "project": project, "view": view["id"]}
    for task in outcome.order[:2]:
        served = ask("POST", "/api/dm/actions", params=labelling, json={})
        assert served["id"] == task
        (prediction,) = served["predictions"]
        assert prediction["model_version"] == outcome.version
        assert len(prediction["result"]) == (task in numbers[:PREANNOTATED])
        client.submit(task, [painted(drawn(photos[numbers.index(task)]))], 1.0)

    again = run(Plan(strategy="clicks", chunk=2))

    # only the labelled tasks have left; the ranking before is gone, what people saw is not
    assert again.order == outcome.order[2:]
    assert (again.looked, again.written) == (0, 2)
    assert client.prediction_counts(project) == {"maskloop-v1": PREANNOTATED, again.version: 2}
    assert client.project_numbered(project)["model_version"] == again.version
    assert len(client.views(project)) == 1
    assert run(Plan(strategy="clicks")).written == 0
    client.update_project(project, sampling="Uncertainty sampling")
    assert ask("GET", f"/api/projects/{project}/next")["id"] == again.order[0]
