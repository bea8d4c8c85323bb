"""Events: what Label Studio's webhooks become in Prefect, whose automations count them."""

import logging
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import httpx

from ml_backend.controls import read_controls
from ml_backend.errors import ServiceError
from ml_backend.protocol import Action, AnnotationEvent, TasksEvent, read_body

logger = logging.getLogger(__name__)

SUBMITTED = "labelstudio.mask.submitted"
TRAINING = "labelstudio.training.requested"
EVENTS = {
    "ANNOTATION_CREATED": SUBMITTED,
    "ANNOTATIONS_CREATED": SUBMITTED,
    "ANNOTATION_UPDATED": SUBMITTED,
    "START_TRAINING": TRAINING,
}
TIMEOUT = httpx.Timeout(30.0)  # nobody waits for it: Label Studio has its answer before
MOST_MASKS = 100  # of one annotation; an automation's threshold is lower

Event = dict[str, Any]


def read_events(body: bytes) -> list[Event]:
    """The events of a webhook body: one for each mask submitted, none for a skip or other actions.

    An automation can only count events, and a retrain is worth its time by masks, not by annotations. They
    are a hint: a mask that is submitted again counts again, and an event may be lost. The flow asks Label
    Studio itself how much is new.

    Raises:
        MalformedError: the body is no JSON.
        RequestError: the body of a known action is of another shape.
    """
    action = read_body(body, Action).action
    name = EVENTS.get(action) if isinstance(action, str) else None
    if name is None:
        return []
    source = read_body(body, AnnotationEvent)
    payload = {"action": action, "project": source.project.id}
    if name == TRAINING:
        return [_event(name, source.project.id, payload)]
    if source.task is not None:
        payload["task"] = source.task.id
    annotations = source.annotations if source.annotation is None else [source.annotation]
    return [
        _event(name, source.project.id, {**payload, "annotation": annotation.id})
        for annotation in annotations
        if not annotation.was_cancelled
        for _ in range(min(annotation.masks, MOST_MASKS))
    ]


def read_images(body: bytes) -> dict[int, str]:
    """Addresses of the images of new tasks, by task; none for other actions, and never an error."""
    try:
        if read_body(body, Action).action != "TASKS_CREATED":
            return {}
        source = read_body(body, TasksEvent)
        controls = read_controls(source.project.label_config)
    except ServiceError:  # fetching ahead is a favour
        return {}
    if controls is None:
        return {}
    found = ((task.id, task.data.get(controls.image_key)) for task in source.tasks)
    return {task: address for task, address in found if isinstance(address, str)}


def _event(name: str, project: int, payload: Event) -> Event:
    return {
        "id": str(uuid.uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": name,
        "resource": {"prefect.resource.id": f"labelstudio.project.{project}"},
        "payload": payload,
    }


def _is_not_found(error: httpx.HTTPError) -> bool:
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code == httpx.codes.NOT_FOUND


class Prefect:
    """A client that emits events. A lost event delays a retrain and loses no annotation: so it is logged."""

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._url = url
        # A transport of its own leaves out the proxies of the environment.
        self._client = httpx.AsyncClient(timeout=TIMEOUT, transport=transport or httpx.AsyncHTTPTransport())

    async def emit(self, events: Sequence[Event]) -> None:
        if not self._url or not events:
            return
        try:
            reply = await self._client.post(f"{self._url}/events", json=list(events))
            reply.raise_for_status()
        except httpx.HTTPError as error:
            hint = " MASKLOOP_PREFECT_URL must end in /api." if _is_not_found(error) else ""
            reason = str(error) or type(error).__name__
            logger.warning(
                "Prefect at %s did not take %d event(s): %s.%s", self._url, len(events), reason, hint
            )

    async def close(self) -> None:
        await self._client.aclose()
