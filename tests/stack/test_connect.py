"""Connecting a project, on a Label Studio that runs."""

import pytest

from pipelines.label_studio.client import LabelStudio
from pipelines.label_studio.connection import CREATED, SAME, UPDATED, Wanted, connect, find_project
from pipelines.label_studio.interface import read_interface
from pipelines.stack.errors import RefusedError, StackError
from pipelines.stack.services import HOST, free_ports
from pipelines.stack.up import Stack
from tests.stack.stub_backend import VERSION, serve_backend

pytestmark = pytest.mark.stack

PREDICTION = {"result": [], "score": 0.5, "model_version": VERSION}


def outcomes(client: LabelStudio, project: int, wanted: Wanted) -> dict[str, str]:
    return {step.thing: step.outcome for step in connect(client, project, wanted)}


def test_connect__a_bare_project_then_once_more(stack: Stack, project: int) -> None:
    client = stack.label_studio
    with serve_backend(secret="s3cret") as backend:
        wanted = Wanted(backend.url, ("Cell", "Wall"), "polygon", webhook_secret="s3cret")
        assert outcomes(client, project, wanted) == {
            "labelling configuration": UPDATED,
            "backend": CREATED,
            "webhook": UPDATED,  # the one that Label Studio made by itself
            "settings": UPDATED,
            "model version": SAME,
        }
        assert set(outcomes(client, project, wanted).values()) == {SAME}
        (record,) = client.backends(project)
    (hook,) = client.webhooks(project)
    about = client.project_numbered(project)
    interface = read_interface(about["label_config"])

    assert (interface.shape, interface.labels) == ("polygon", ("Cell", "Wall"))
    assert (record["state"], record["is_interactive"], record["model_version"]) == ("CO", True, VERSION)
    assert hook["headers"] == {"X-Maskloop-Secret": "s3cret"}
    assert {"TASKS_CREATED", "TASKS_DELETED", "ANNOTATION_CREATED"} <= set(hook["actions"])
    assert not hook["send_for_all_actions"]
    assert about["show_collab_predictions"] is False
    assert about["expert_instruction"].startswith("Click on the object")


def test_connect__backend_moved_and_leftovers_go(stack: Stack, project: int) -> None:
    client = stack.label_studio
    with serve_backend() as old, serve_backend() as new, serve_backend() as other:
        client.create_backend(project=project, url=other.url, title="somebody's")
        outcomes(client, project, Wanted(old.url, ("Cell",)))
        client.create_backend(project=project, url=new.url, title="maskloop")  # a second one, by hand

        steps = list(connect(client, project, Wanted(new.url)))
        backends = {one["title"]: one["url"] for one in client.backends(project)}

    assert backends == {"somebody's": other.url, "maskloop": new.url}
    hooks = {one["url"] for one in client.webhooks(project)}
    assert hooks == {f"{other.url}/webhook", f"{new.url}/webhook"}
    removed = {step.detail for step in steps if step.outcome == "removed"}
    assert removed == {old.url, f"{old.url}/webhook"}


def test_connect__webhook_of_a_backend_that_was_deleted(stack: Stack, project: int) -> None:
    client = stack.label_studio
    with serve_backend() as gone, serve_backend() as backend:
        made = client.create_backend(project=project, url=gone.url, title="gone")
        client.delete_backend(made["id"])
        assert len(client.webhooks(project)) == 1
        outcomes(client, project, Wanted(backend.url, ("Cell",)))
    assert [one["url"] for one in client.webhooks(project)] == [f"{backend.url}/webhook"]


def test_connect__basic_authentication(stack: Stack, project: int) -> None:
    client = stack.label_studio
    with serve_backend(user="eve", password="pw") as backend:
        with pytest.raises(StackError, match="--basic-user and --basic-password"):
            outcomes(client, project, Wanted(backend.url, ("Cell",)))
        guarded = Wanted(backend.url, ("Cell",), basic_user="eve", basic_password="pw")
        assert outcomes(client, project, guarded)["backend"] == CREATED
        assert outcomes(client, project, guarded)["backend"] == SAME
        backend.password = "changed"
        again = Wanted(backend.url, basic_user="eve", basic_password="changed")
        assert outcomes(client, project, again)["backend"] == UPDATED
        (record,) = client.backends(project)
    assert (record["state"], record["auth_method"]) == ("CO", "BASIC_AUTH")


def test_connect__what_a_person_set_stays(stack: Stack, project: int) -> None:
    client = stack.label_studio
    client.update_project(project, expert_instruction="Mind the gap.", sampling="Uniform sampling")
    with serve_backend() as backend:
        outcomes(client, project, Wanted(backend.url, ("Cell",)))
        about = client.project_numbered(project)
        assert (about["expert_instruction"], about["sampling"]) == ("Mind the gap.", "Uniform sampling")
        outcomes(client, project, Wanted(backend.url, sampling="Uncertainty sampling", instruction="Go."))
    about = client.project_numbered(project)
    assert (about["expert_instruction"], about["sampling"]) == ("Go.", "Uncertainty sampling")


def test_connect__model_version_when_predictions_of_it_are_stored(stack: Stack, project: int) -> None:
    client = stack.label_studio
    with serve_backend() as backend:
        outcomes(client, project, Wanted(backend.url, ("Cell",)))
        client.upload(project, "a.txt", b"http://example.com/a.png")
        (task,) = client.tasks(project)
        client.add_predictions(project, [{"task": task["id"], **PREDICTION}])
        assert outcomes(client, project, Wanted(backend.url))["model version"] == UPDATED
        assert client.project_numbered(project)["model_version"] == VERSION

        client.update_project(project, show_collab_predictions=True)  # what preannotating does
        assert set(outcomes(client, project, Wanted(backend.url)).values()) == {SAME}
    assert client.project_numbered(project)["show_collab_predictions"] is True


def test_connect__backend_is_down(stack: Stack, project: int) -> None:
    url = f"http://{HOST}:{free_ports(1)[0]}"
    with pytest.raises(StackError, match="Is the backend running, and is this its address as seen from"):
        outcomes(stack.label_studio, project, Wanted(url, ("Cell",)))
    assert stack.label_studio.webhooks(project) == []


@pytest.mark.usefixtures("legacy_tokens_disabled")
def test_connect__personal_access_token(stack: Stack, project: int, personal_token: str) -> None:
    url = stack.config.label_studio_url
    with serve_backend() as backend, LabelStudio(url, personal_token) as client:
        assert outcomes(client, project, Wanted(backend.url, ("Cell",)))["backend"] == CREATED
        client.credentials._access = "an access token that has expired"
        assert set(outcomes(client, project, Wanted(backend.url)).values()) == {SAME}
    with pytest.raises(RefusedError, match="has been disabled"):
        stack.label_studio.user()


def test_find_project__by_number_or_title(stack: Stack, project: int) -> None:
    client = stack.label_studio
    assert find_project(client, project)["id"] == project
    assert find_project(client, title="links")["id"] == project
    with pytest.raises(StackError, match="has no project 999999"):
        find_project(client, 999999)
    with pytest.raises(StackError, match="has no project 'none such'"):
        find_project(client, title="none such")
    with pytest.raises(StackError, match="--project NUMBER or --title TITLE"):
        find_project(client)
