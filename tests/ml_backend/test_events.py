import asyncio
import json
import logging
import uuid
from datetime import datetime

import httpx
import pytest

from ml_backend.errors import MalformedError, RequestError
from ml_backend.events import Prefect, read_events


def events_of(body) -> list[dict]:
    return read_events(json.dumps(body).encode())


def test_read_events__one_for_each_mask(wire):
    event, other = events_of(wire("webhook_ANNOTATION_CREATED"))
    assert event["id"] != other["id"], "Prefect would take them for one"
    assert event["event"] == "labelstudio.mask.submitted"
    assert event["resource"] == {"prefect.resource.id": "labelstudio.project.12"}
    assert event["payload"] == {"action": "ANNOTATION_CREATED", "project": 12, "task": 24, "annotation": 21}
    assert uuid.UUID(event["id"])
    assert datetime.fromisoformat(event["occurred"]).tzinfo is not None


def test_read_events__annotation_updated(wire):
    events = events_of(wire("webhook_ANNOTATION_UPDATED"))
    assert {event["event"] for event in events} == {"labelstudio.mask.submitted"}


def test_read_events__click_beside_its_mask_is_no_mask():
    results = [{"id": "a", "type": "brushlabels"}, {"id": "a", "type": "keypointlabels"}, {"id": "b"}]
    body = {"action": "ANNOTATION_CREATED", "project": {"id": 3}, "annotation": {"id": 1, "result": results}}
    assert len(events_of(body)) == 2


def test_read_events__emptied_annotation():
    body = {"action": "ANNOTATION_UPDATED", "project": {"id": 3}, "annotation": {"id": 1, "result": []}}
    assert events_of(body) == []


def test_read_events__very_many_masks():
    results = [{"id": str(number)} for number in range(5000)]
    body = {"action": "ANNOTATION_CREATED", "project": {"id": 3}, "annotation": {"id": 1, "result": results}}
    assert len(events_of(body)) == 100


def test_read_events__bulk():
    body = {"action": "ANNOTATIONS_CREATED", "project": {"id": 3}, "annotations": [{"id": 1}, {"id": 2}]}
    assert [event["payload"]["annotation"] for event in events_of(body)] == [1, 2]


def test_read_events__training_requested(wire):
    (event,) = events_of(wire("webhook_START_TRAINING"))
    assert event["event"] == "labelstudio.training.requested"
    assert event["payload"] == {"action": "START_TRAINING", "project": 12}


@pytest.mark.parametrize(
    "name",
    [
        "webhook_ANNOTATION_CREATED_skipped",
        "webhook_ANNOTATIONS_DELETED",
        "webhook_PROJECT_UPDATED",
        "webhook_TASKS_CREATED",
        "webhook_TASKS_DELETED",
    ],
)
def test_read_events__nothing_submitted(wire, name):
    assert events_of(wire(name)) == []


@pytest.mark.parametrize(
    "body", [{}, {"action": None}, {"action": ["x"]}, {"action": "NEW_ACTION", "project": "odd"}]
)
def test_read_events__unknown_action(body):
    assert events_of(body) == []


def test_read_events__known_action_of_another_shape():
    with pytest.raises(RequestError, match="project: Object missing required field"):
        events_of({"action": "START_TRAINING"})


@pytest.mark.parametrize("body", [b"", b"{", b"\xff"])
def test_read_events__broken_json(body):
    with pytest.raises(MalformedError, match="no JSON"):
        read_events(body)


def emit(url: str, answer) -> None:
    async def run() -> None:
        prefect = Prefect(url, transport=httpx.MockTransport(answer))
        await prefect.emit([{"event": "x"}])
        await prefect.close()

    asyncio.run(run())


def test_emit__one_post():
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, str(request.url), json.loads(request.content)))
        return httpx.Response(204)

    emit("http://prefect.example/api", answer)
    assert asked == [("POST", "http://prefect.example/api/events", [{"event": "x"}])]


def test_emit__no_prefect_configured():
    emit("", lambda _: pytest.fail("nobody must be asked"))


def test_emit__prefect_refuses(caplog):
    with caplog.at_level(logging.WARNING):
        emit("http://prefect.example", lambda _: httpx.Response(404))
    assert "must end in /api" in caplog.text


def test_emit__prefect_fails(caplog):
    with caplog.at_level(logging.WARNING):
        emit("http://prefect.example/api", lambda _: httpx.Response(500))
    assert "did not take 1 event(s)" in caplog.text
    assert "/api." not in caplog.text.split("500")[1]
