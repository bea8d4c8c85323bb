"""Label Studio as the pipelines read it: changed tasks, and the bytes of their images."""

import base64
import binascii
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree

from pipelines.errors import LabelStudioError

PAGE_SIZE = 50
"""Tasks with their annotations that are asked for at once; a hundred masks take a megabyte or two."""
LISTED_AT_ONCE = 1000
# A task's `updated_at` is set before its transaction is committed, so a task may appear a little late.
OVERLAP = timedelta(seconds=10)
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


@dataclass(frozen=True)
class Task:
    """One image to label. `annotations` are as Label Studio's API gives them."""

    id: int
    updated_at: str
    image: str
    annotations: tuple[dict[str, Any], ...]

    def added(self, cursor: str) -> int:
        """How many annotations were made after `cursor`, cancelled ones aside."""
        return sum(
            str(annotation.get("created_at", "")) > cursor and not annotation.get("was_cancelled")
            for annotation in self.annotations
        )


@dataclass(frozen=True)
class Survey:
    """What a project holds, in counts that Label Studio gives away cheaply.

    newest: time of the last change of any task; empty when there is none.
    newest_task: highest number of a task, 0 when there is none.
    tasks: how many there are.
    earlier: how many of them have a number up to the one that was asked about.
    annotations: how many all tasks have together, cancelled ones aside.
    """

    newest: str
    newest_task: int
    tasks: int
    earlier: int
    annotations: int


def format_time(moment: datetime | str) -> str:
    """The one spelling that Label Studio's filters accept: UTC, microseconds, `Z`.

    The SDK gives the same field as a time or as text, depending on what else a task holds.
    """
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return moment.astimezone(UTC).strftime(_TIME)


def parse_time(text: str) -> datetime:
    return datetime.strptime(text, _TIME).replace(tzinfo=UTC)


class LabelStudioProject:
    """One project on one server. Every failure is a `LabelStudioError`."""

    def __init__(self, url: str, token: str, project: int) -> None:
        """`token` is a legacy token or a personal access token."""
        from label_studio_sdk import LabelStudio

        self.url = url.rstrip("/")
        self.project = project
        client: Any = LabelStudio  # its constructor is not typed
        self._client = client(base_url=self.url, api_key=token, timeout=60)

    @cached_property
    def image_key(self) -> str:
        """Key of a task's data that holds the image."""
        return self._image_tag.get("value", "").lstrip("$")

    @cached_property
    def prompt_controls(self) -> frozenset[str]:
        """Controls that only ask the model (`smartOnly`): what they draw is a question, not an answer."""
        return frozenset(
            element.get("name", "")
            for element in self._config.iter()
            if element.get("smartOnly", element.get("smartonly", "")).lower() == "true"
        )

    def survey(self, number: int) -> Survey:
        """What there is; `number` is that of a task, for `Survey.earlier`."""
        last = self._tasks(1, ordering="-tasks:id")
        changed = self._tasks(1, ordering="-tasks:updated_at")
        earlier = self._tasks(1, _filter("id", "Number", "less_or_equal", number)) if number else None
        return Survey(
            newest=format_time(changed.items[0].updated_at) if changed.items else "",
            newest_task=last.items[0].id if last.items else 0,
            tasks=last.response.total,
            earlier=earlier.response.total if earlier else 0,
            annotations=last.response.total_annotations,
        )

    def changed_tasks(self, cursor: str) -> Iterator[Task]:
        """Tasks changed since `cursor`, some of them again; an empty cursor gives all."""
        since = format_time(parse_time(cursor) - OVERLAP) if cursor else ""
        filters = [_filter("updated_at", "Datetime", "greater", since)] if cursor else []
        for task in self._by_number(PAGE_SIZE, filters, fields="all"):
            yield self._task(task)

    def listed_tasks(self) -> Iterator[tuple[int, int]]:
        """Number and count of annotations, cancelled ones aside, of all tasks, without what is in them."""
        for task in self._by_number(LISTED_AT_ONCE, []):
            yield task.id, task.total_annotations or 0

    def _by_number(
        self, size: int, filters: list[dict[str, Any]], fields: str = "task_only"
    ) -> Iterator[Any]:
        """Tasks in the order of their numbers, each page asked for by the last number of the one before.

        Pages by their count would shift when a task is deleted or changed while they are read, and one that
        slips over a page's border would be seen by nobody.
        """
        last = 0
        while True:
            page = self._tasks(size, *filters, _filter("id", "Number", "greater", last), fields=fields)
            yield from page.items
            if page.response.total <= len(page.items) or not page.items:
                return
            last = page.items[-1].id

    def _tasks(
        self, size: int, *filters: dict[str, Any], ordering: str = "tasks:id", fields: str = "task_only"
    ) -> Any:
        query: dict[str, Any] = {"ordering": [ordering]}
        if filters:
            query["filters"] = {"conjunction": "and", "items": filters}
        with self._answers():
            return self._client.tasks.list(
                project=self.project, fields=fields, page_size=size, query=json.dumps(query)
            )

    def task(self, task_id: int) -> Task | None:
        """One task, or None when it is there no more."""
        from label_studio_sdk.core.api_error import ApiError

        with self._answers():
            try:
                return self._task(self._client.tasks.get(str(task_id)))
            except ApiError as error:
                if error.status_code == 404:
                    return None
                raise

    def image(self, reference: str) -> bytes:
        """Bytes of the image that a task names: on this server, or in a `data:` URI."""
        if reference.startswith("data:"):
            return _embedded(reference)
        url = urljoin(self.url + "/", reference)
        if urlsplit(url)[:2] != urlsplit(self.url)[:2]:
            raise LabelStudioError(
                f"Image {reference!r} is not on {self.url}: import it into Label Studio, or add its storage."
            )
        return self._download(url)

    def _download(self, url: str) -> bytes:
        with self._answers():
            # the SDK has no call for files; its HTTP client keeps the token, whichever kind it is, fresh
            path = url.removeprefix(self.url).lstrip("/")
            response = self._client._client_wrapper.httpx_client.request(path, method="GET")
        if response.status_code != 200:
            raise LabelStudioError(f"Image {url!r}: Label Studio answered {response.status_code}.")
        return bytes(response.content)

    def _task(self, task: Any) -> Task:
        return Task(
            id=task.id,
            updated_at=format_time(task.updated_at),
            image=str((task.data or {}).get(self.image_key, "")),
            annotations=tuple(_plain(annotation) for annotation in task.annotations or ()),
        )

    @cached_property
    def _config(self) -> ElementTree.Element:
        with self._answers():
            text = self._client.projects.get(self.project).label_config or ""
        try:
            return ElementTree.fromstring(text)  # noqa: S314 - the server that we send our token to
        except ElementTree.ParseError as error:
            raise LabelStudioError(
                f"Project {self.project} has no readable labelling config: {error}."
            ) from error

    @property
    def _image_tag(self) -> ElementTree.Element:
        tag = self._config.find(".//Image")
        if tag is None:
            raise LabelStudioError(
                f"Project {self.project} shows no <Image>: name a project that labels images."
            )
        return tag

    @contextmanager
    def _answers(self) -> Iterator[None]:
        """Turn what the SDK and its HTTP client raise into `LabelStudioError`."""
        import httpx
        from label_studio_sdk.core.api_error import ApiError

        try:
            yield
        except ApiError as error:
            remedy = _remedy(error.status_code, self.project)
            raise LabelStudioError(
                f"Label Studio at {self.url} answered {error.status_code}{remedy}"
            ) from error
        except httpx.HTTPError as error:
            raise LabelStudioError(
                f"Label Studio at {self.url} does not answer ({error}): start it, or correct the address."
            ) from error


def _filter(column: str, kind: str, operator: str, value: str | int) -> dict[str, Any]:
    return {"filter": f"filter:tasks:{column}", "operator": operator, "type": kind, "value": value}


def _plain(annotation: Any) -> dict[str, Any]:
    """An annotation as a dict: a list of tasks gives dicts, a single task gives models."""
    plain: dict[str, Any] = dict(annotation) if isinstance(annotation, dict) else annotation.dict()
    return plain | {name: format_time(plain[name]) for name in ("created_at", "updated_at")}


def _embedded(reference: str) -> bytes:
    body = reference.partition(";base64,")[2]
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise LabelStudioError(f"The data: URI {reference[:40]!r}... holds no image ({error}).") from error


def _remedy(status: int | None, project: int) -> str:
    if status in (401, 403):
        return ": check MASKLOOP_LABEL_STUDIO_TOKEN, and that its user may see the project."
    if status == 404:
        return f": is there a project {project}? Check MASKLOOP_LABEL_STUDIO_PROJECT."
    return ": see its log."
