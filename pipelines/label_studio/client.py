"""The part of Label Studio's HTTP interface that the stack, `connect` and `doctor` need."""

import json
import re
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from pipelines.label_studio.credentials import Credentials
from pipelines.stack.errors import RefusedError, StackError

UNLABELLED: dict[str, Any] = {
    "conjunction": "and",
    "items": [
        {"filter": f"filter:tasks:{name}", "operator": "equal", "type": "Number", "value": 0}
        for name in ("total_annotations", "cancelled_annotations")
    ],
}
"""Filter of a view: tasks that nobody has labelled or skipped."""
LABELLED: dict[str, Any] = {
    "conjunction": "and",
    "items": [
        {"filter": "filter:tasks:total_annotations", "operator": "greater", "type": "Number", "value": 0}
    ],
}
PAGE = 200
"""Tasks a page where the page has no masks."""


class LabelStudio:
    """A client with a token of either kind. Its methods raise RefusedError on an answer of 400 and above."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url.rstrip("/")
        self.credentials = Credentials(self.url, token)
        self._client = httpx.Client(
            base_url=self.url,
            auth=self.credentials,
            timeout=120.0,  # an interactive request waits for the backend
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def user(self) -> dict[str, Any]:
        return dict(self._ask("GET", "/api/current-user/whoami"))

    def project(self, title: str) -> dict[str, Any] | None:
        """The project of exactly this title, the oldest if there are several."""
        found = self._ask("GET", "/api/projects", params={"title": title, "page_size": 100})["results"]
        return min((one for one in found if one["title"] == title), key=lambda one: one["id"], default=None)

    def project_numbered(self, project: int) -> dict[str, Any]:
        return dict(self._ask("GET", f"/api/projects/{project}"))

    def create_project(self, **fields: object) -> dict[str, Any]:
        return dict(self._ask("POST", "/api/projects", json=fields))

    def update_project(self, project: int, **fields: object) -> None:
        self._ask("PATCH", f"/api/projects/{project}", json=fields)

    def tasks(self, project: int) -> list[dict[str, Any]]:
        """All tasks of a project, with their annotations."""
        query = {"project": project, "page_size": 1000, "fields": "all"}
        return list(self._ask("GET", "/api/tasks", params=query)["tasks"])

    def tasks_by_id(
        self, project: int, size: int, numbers: range | None = None
    ) -> Iterator[list[dict[str, Any]]]:
        """Tasks with annotations and predictions, in the order of their numbers, `size` at a time.

        All of them, or those whose number is in `numbers`.
        """
        query: dict[str, Any] = {"ordering": ["tasks:id"]}
        if numbers is not None:
            query["filters"] = _numbered(numbers)
        page, read, total = 1, 0, 1
        while read < total:
            asked = {"project": project, "page": page, "page_size": size, "fields": "all"}
            answer = self._ask("GET", "/api/tasks", params=asked | {"query": json.dumps(query)})
            page, read, total = page + 1, read + len(answer["tasks"]), answer["total"]
            if not answer["tasks"]:
                return
            yield answer["tasks"]

    def unlabelled(
        self, project: int, size: int = PAGE, whole: bool = False
    ) -> Iterator[list[dict[str, Any]]]:
        """Tasks that nobody has labelled or skipped; `whole` ones come with their predictions."""
        return self._filtered(project, UNLABELLED, size, whole)

    def labelled(self, project: int, size: int = PAGE) -> Iterator[list[dict[str, Any]]]:
        """Tasks with an annotation, without their masks."""
        return self._filtered(project, LABELLED, size, whole=False)

    def _filtered(
        self, project: int, filters: dict[str, Any], size: int, whole: bool
    ) -> Iterator[list[dict[str, Any]]]:
        """Tasks by number. Each page begins after the last one: none is missed when some leave the filter."""
        after = 0
        while True:
            later = {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": after}
            query = {
                "filters": filters | {"items": [later, *filters["items"]]},
                "ordering": ["tasks:id"],
            }
            asked = {"project": project, "page_size": size, "query": json.dumps(query)}
            tasks = self._ask("GET", "/api/tasks", params=asked | ({"fields": "all"} if whole else {}))[
                "tasks"
            ]
            if not tasks:
                return
            yield tasks
            after = tasks[-1]["id"]

    def task_at(self, project: int, place: int) -> int:
        """The number of the task at a place, from 0 on, in the order of numbers."""
        query = json.dumps({"ordering": ["tasks:id"]})
        asked = {"project": project, "page": place + 1, "page_size": 1, "query": query}
        (task,) = self._ask("GET", "/api/tasks", params=asked)["tasks"]
        return int(task["id"])

    def task(self, task: int) -> dict[str, Any]:
        return dict(self._ask("GET", f"/api/tasks/{task}"))

    def upload(self, project: int, name: str, data: bytes) -> None:
        """Add an image as a task."""
        self._ask("POST", f"/api/projects/{project}/import", files={"file": (name, data)})

    def add_predictions(self, project: int, predictions: Sequence[dict[str, Any]]) -> int:
        """Store predictions of tasks; returns how many Label Studio made."""
        path = f"/api/projects/{project}/import/predictions"
        return int(self._ask("POST", path, json=list(predictions))["created"])

    def delete_predictions(self, project: int, version: str) -> None:
        """Delete all predictions of a model version; the project then names none if it named this one."""
        self._ask("DELETE", f"/api/projects/{project}/model-versions/", json={"model_version": version})

    def delete_prediction(self, prediction: int) -> None:
        self._ask("DELETE", f"/api/predictions/{prediction}/")

    def prediction_counts(self, project: int) -> dict[str, int]:
        """How many predictions of each model version are stored."""
        found = dict(self._ask("GET", f"/api/projects/{project}/model-versions/"))
        return {str(version): int(count) for version, count in found.items() if count}

    def backends(self, project: int) -> list[dict[str, Any]]:
        """The ML backends of a project. Label Studio asks each for its state before it answers."""
        return list(self._ask("GET", "/api/ml", params={"project": project}))

    def create_backend(self, **fields: object) -> dict[str, Any]:
        return dict(self._ask("POST", "/api/ml", json=fields))

    def update_backend(self, backend: int, **fields: object) -> dict[str, Any]:
        """Change a connection, which Label Studio tries anew; without the project it answers 500."""
        return dict(self._ask("PATCH", f"/api/ml/{backend}", json=fields))

    def delete_backend(self, backend: int) -> None:
        self._ask("DELETE", f"/api/ml/{backend}")

    def webhooks(self, project: int) -> list[dict[str, Any]]:
        return list(self._ask("GET", "/api/webhooks/", params={"project": project}))

    def create_webhook(self, **fields: object) -> None:
        self._ask("POST", "/api/webhooks/", json=fields)

    def update_webhook(self, webhook: int, **fields: object) -> None:
        """Change a webhook; without its actions Label Studio takes them away."""
        self._ask("PATCH", f"/api/webhooks/{webhook}/", json=fields)

    def delete_webhook(self, webhook: int) -> None:
        self._ask("DELETE", f"/api/webhooks/{webhook}/")

    def views(self, project: int) -> list[dict[str, Any]]:
        """The tabs of a project's Data Manager, leftmost first."""
        return list(self._ask("GET", "/api/dm/views/", params={"project": project}))

    def create_view(self, project: int, data: dict[str, Any]) -> dict[str, Any]:
        return dict(self._ask("POST", "/api/dm/views/", json={"project": project, "data": data}))

    def update_view(self, view: int, project: int, data: dict[str, Any]) -> None:
        self._ask("PATCH", f"/api/dm/views/{view}/", json={"project": project, "data": data})

    def delete_view(self, view: int) -> None:
        self._ask("DELETE", f"/api/dm/views/{view}/")

    def train(self, backend: int) -> None:
        """Press the Train button of a connection, which the backend is told by its webhook."""
        self._ask("POST", f"/api/ml/{backend}/train", json={})

    def predict(self, backend: int, task: int, prompts: list[dict[str, Any]]) -> dict[str, Any]:
        """The backend's answer to clicks on a task, asked for as the editor does; empty when it has none.

        Raises StackError when the backend failed: Label Studio passes that on with status 200.
        """
        body = {"task": task, "context": {"result": prompts}}
        answer = self._ask("POST", f"/api/ml/{backend}/interactive-annotating", json=body)
        if answer.get("errors"):
            raise StackError(f"The backend failed on task {task}: {answer['errors']}")
        return dict(answer.get("data") or {})

    def submit(self, task: int, regions: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
        fields = {"result": regions, "lead_time": seconds, "was_cancelled": False}
        return dict(self._ask("POST", f"/api/tasks/{task}/annotations/", json=fields))

    def _ask(self, method: str, path: str, **request: Any) -> Any:
        try:
            answer = self._client.request(method, path, **request)
        except httpx.HTTPError as error:
            raise StackError(
                f"Label Studio does not answer at {self.url} ({error}): start it (ours: `maskloop up`), or "
                "correct the address."
            ) from error
        if answer.is_error:
            raise RefusedError(
                f"Label Studio refused {method} {path} ({answer.status_code}): {_complaint(answer)}",
                status=answer.status_code,
            )
        return _read(answer, self.url) if answer.content else None


def _numbered(numbers: range) -> dict[str, Any]:
    """A filter of tasks by their numbers, both ends included as Label Studio wants it."""
    item = {"filter": "filter:tasks:id", "operator": "in", "type": "Number"}
    return {
        "conjunction": "and",
        "items": [item | {"value": {"min": numbers.start, "max": numbers.stop - 1}}],
    }


def _read(answer: httpx.Response, url: str) -> Any:
    try:
        return answer.json()
    except ValueError as error:
        raise StackError(f"{url} answers with something else than JSON: is it a Label Studio?") from error


def _complaint(answer: httpx.Response) -> str:
    """What Label Studio has against a request, without its marks of HTML."""
    try:
        body = dict(answer.json())
    except (ValueError, TypeError):
        return answer.text[:500]
    faults = body.get("validation_errors") or {}
    said = [f"{field}: {_joined(fault)}" for field, fault in faults.items() if field != "non_field_errors"]
    said = [*said, _joined(faults.get("non_field_errors", []))] if faults else [str(body.get("detail", body))]
    return re.sub(r"<[^>]+>", "", " ".join(said)).strip()[:800]


def _joined(fault: Any) -> str:
    return " ".join(map(str, fault)) if isinstance(fault, list) else str(fault)
