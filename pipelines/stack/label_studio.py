"""The part of Label Studio's HTTP interface that the stack needs."""

from types import TracebackType
from typing import Any, Self

import httpx

from pipelines.stack.errors import RefusedError, StackError


class LabelStudio:
    """A client with a legacy token. Every method raises RefusedError on an answer of 400 and above."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._client = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Token {token}"},
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

    def create_project(self, **fields: object) -> dict[str, Any]:
        return dict(self._ask("POST", "/api/projects", json=fields))

    def update_project(self, project: int, **fields: object) -> None:
        self._ask("PATCH", f"/api/projects/{project}", json=fields)

    def tasks(self, project: int) -> list[dict[str, Any]]:
        """All tasks of a project, with their annotations."""
        query = {"project": project, "page_size": 1000, "fields": "all"}
        return list(self._ask("GET", "/api/tasks", params=query)["tasks"])

    def task(self, task: int) -> dict[str, Any]:
        return dict(self._ask("GET", f"/api/tasks/{task}"))

    def upload(self, project: int, name: str, data: bytes) -> None:
        """Add an image as a task."""
        self._ask("POST", f"/api/projects/{project}/import", files={"file": (name, data)})

    def backends(self, project: int) -> list[dict[str, Any]]:
        return list(self._ask("GET", "/api/ml", params={"project": project}))

    def connect_backend(self, project: int, url: str, title: str) -> dict[str, Any]:
        fields = {
            "project": project,
            "url": url,
            "title": title,
            "is_interactive": True,
            "auth_method": "NONE",
        }
        return dict(self._ask("POST", "/api/ml", json=fields))

    def move_backend(self, backend: int, project: int, url: str) -> None:
        """Tell a connection its new address; without the project Label Studio answers 500."""
        fields = {"project": project, "url": url, "is_interactive": True}
        self._ask("PATCH", f"/api/ml/{backend}", json=fields)

    def webhooks(self, project: int) -> list[dict[str, Any]]:
        return list(self._ask("GET", "/api/webhooks/", params={"project": project}))

    def create_webhook(self, **fields: object) -> None:
        self._ask("POST", "/api/webhooks/", json=fields)

    def update_webhook(self, webhook: int, **fields: object) -> None:
        self._ask("PATCH", f"/api/webhooks/{webhook}/", json=fields)

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
                f"Label Studio does not answer at {self.url} ({error}): start it with `maskloop up`."
            ) from error
        if answer.is_error:
            raise RefusedError(
                f"Label Studio refused {method} {path} ({answer.status_code}): {answer.text[:500]}"
            )
        return answer.json() if answer.content else None
