"""The tab of what waits for a person, in a Label Studio that runs."""

import httpx
import pandas as pd
import pytest

from pipelines.data.samples import load_samples
from pipelines.label_studio.client import LabelStudio
from pipelines.label_studio.connection import CREATED, SAME, UPDATED
from pipelines.quality.view import REMOVED, TITLE, ensure_view
from pipelines.stack.up import Stack

pytestmark = pytest.mark.stack


def waiting(project: int, *annotations: int) -> pd.DataFrame:
    return pd.DataFrame({"project_id": project, "annotation_id": list(annotations)}).astype(int)


def tabs(client: LabelStudio, project: int) -> list[str]:
    return [view["data"]["title"] for view in client.views(project)]


def shown(stack: Stack, project: int) -> list[int]:
    """The tasks that the tab shows."""
    (view,) = (one["id"] for one in stack.label_studio.views(project) if one["data"]["title"] == TITLE)
    answer = httpx.get(
        f"{stack.config.label_studio_url}/api/tasks",
        params={"view": view, "page_size": 50},
        headers={"Authorization": f"Token {stack.config.secrets.token}"},
        trust_env=False,
    )
    return sorted(task["id"] for task in answer.raise_for_status().json()["tasks"])


def test_view__shows_the_tasks_that_wait_and_goes_when_none_does(stack: Stack, project: int) -> None:
    client = stack.label_studio
    config = '<View><Image name="image" value="$image"/></View>'
    client.update_project(project, label_config=config)
    for photo in load_samples()[:3]:
        client.upload(project, f"{photo.name}{photo.suffix}", photo.image_bytes)
    first, second, third = sorted(task["id"] for task in client.tasks(project))
    good, bad, worse, other = (client.submit(task, [], 1.0)["id"] for task in (first, second, second, third))

    assert ensure_view(client, project, waiting(project)).outcome == SAME
    assert tabs(client, project) == []
    made = ensure_view(client, project, waiting(project, bad, worse))
    assert (made.outcome, tabs(client, project)) == (CREATED, ["Default", TITLE])
    assert shown(stack, project) == [second]  # once, though it has two annotations that wait
    assert ensure_view(client, project, waiting(project, worse, bad)).outcome == SAME
    assert ensure_view(client, project, waiting(project, bad, other)).outcome == UPDATED
    assert shown(stack, project) == [second, third]
    mixed = pd.concat([waiting(project, good), waiting(project + 1, bad)])
    assert ensure_view(client, project, mixed).outcome == UPDATED
    assert shown(stack, project) == [first]
    assert ensure_view(client, project, waiting(project)).outcome == REMOVED
    assert tabs(client, project) == ["Default"]
