"""The client and the project's set-up, on a Label Studio that runs."""

import pytest

from pipelines.data.samples import load_samples
from pipelines.label_studio.client import LabelStudio
from pipelines.stack import project
from pipelines.stack.errors import RefusedError, StackError
from pipelines.stack.services import HOST, free_ports
from pipelines.stack.up import Stack


def test_ask__label_studio_is_down() -> None:
    url = f"http://{HOST}:{free_ports(1)[0]}"

    with LabelStudio(url, "token") as client, pytest.raises(StackError) as caught:
        client.user()

    assert f"Label Studio does not answer at {url}" in str(caught.value)
    assert "`maskloop up`" in str(caught.value)


@pytest.mark.stack
def test_ask__token_is_wrong(stack: Stack) -> None:
    stranger = LabelStudio(stack.config.label_studio_url, "0" * 40)

    with stranger, pytest.raises(RefusedError, match=r"GET /api/current-user/whoami \(401\)"):
        stranger.user()


@pytest.mark.stack
def test_project__second_start_changes_nothing(stack: Stack) -> None:
    client, config = stack.label_studio, stack.config
    before = [task["id"] for task in client.tasks(stack.project)]

    assert project.ensure_project(client) == stack.project
    project.ensure_samples(client, stack.project, load_samples())
    secret = config.secrets.webhook
    assert project.ensure_connection(client, stack.project, config.backend_url, secret) == stack.backend

    assert [task["id"] for task in client.tasks(stack.project)] == before
    assert len(before) == len(load_samples())
    assert len(client.webhooks(stack.project)) == 1


@pytest.mark.stack
def test_project__webhook_carries_the_secret(stack: Stack) -> None:
    (webhook,) = stack.label_studio.webhooks(stack.project)

    assert webhook["url"] == f"{stack.config.backend_url}/webhook"
    assert webhook["headers"] == {"X-Maskloop-Secret": stack.config.secrets.webhook}
