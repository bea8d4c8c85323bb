"""Connecting a project of Label Studio with the backend: each thing is created, updated, or already so."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from pipelines.label_studio.client import LabelStudio
from pipelines.label_studio.interface import update_interface
from pipelines.stack.errors import RefusedError, StackError

BACKEND_TITLE = "maskloop"
SECRET_HEADER = "X-Maskloop-Secret"  # noqa: S105 - the name, not the secret
WEBHOOK_ACTIONS = (
    "TASKS_CREATED",
    "TASKS_DELETED",
    "ANNOTATION_CREATED",
    "ANNOTATIONS_CREATED",
    "ANNOTATION_UPDATED",
    "ANNOTATIONS_DELETED",
)
INSTRUCTION = "Click on the object. Add clicks until the mask fits, then accept and submit."

RANKING = "priority-"
"""Versions of predictions that `maskloop prioritize` makes begin with it."""

CREATED, UPDATED, SAME = "created", "updated", "already so"

BLOCKED = "reserved network address"
"""What Label Studio says of an address that its protection against forged requests refuses."""
ML_REMEDY = (
    "Label Studio refuses to call backends on private addresses: start it with ML_BLOCK_LOCAL_IP=false, or "
    "give the backend a public address."
)
WEBHOOK_REMEDY = (
    "Label Studio refuses to send webhooks to private addresses: start it with "
    "SSRF_PROTECTION_ENABLED=false, or give the backend a public address."
)
AUTH_REMEDY = (
    "Give the backend's MASKLOOP_BASIC_USER and MASKLOOP_BASIC_PASSWORD to `maskloop connect` as "
    "--basic-user and --basic-password."
)
REACH_REMEDY = (
    "Is the backend running, and is this its address as seen from the machine of Label Studio? In a "
    "container, localhost is the container itself."
)


@dataclass(frozen=True)
class Wanted:
    """How a project shall be connected. What is empty or None stays as it is."""

    backend_url: str
    """As Label Studio reaches it."""
    labels: tuple[str, ...] = ()
    shape: str | None = None
    basic_user: str = ""
    basic_password: str = field(default="", repr=False)
    webhook_secret: str = field(default="", repr=False)
    sampling: str | None = None
    instruction: str | None = None


@dataclass(frozen=True)
class Step:
    """One thing seen to, and how."""

    thing: str
    outcome: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.outcome:<10}  {self.thing}" + (f": {self.detail}" if self.detail else "")


def connect(client: LabelStudio, project: int, wanted: Wanted) -> Iterator[Step]:
    """See to everything that a project needs, and tell each step as it is done.

    The backend comes first: Label Studio then makes a webhook without a secret, which is mended next.

    Raises:
        StackError: Label Studio refuses a step, or does not answer.
        InterfaceError: the labelling configuration cannot ask for masks.
    """
    yield ensure_interface(client, project, wanted)
    earlier = {one["url"] for one in client.backends(project) if one["title"] == BACKEND_TITLE}
    yield from ensure_backend(client, project, wanted)
    yield from ensure_webhook(client, project, wanted, earlier)
    yield ensure_settings(client, project, wanted)
    yield ensure_model_version(client, project)


def find_project(client: LabelStudio, number: int | None = None, title: str | None = None) -> dict[str, Any]:
    """A project by its number or its exact title.

    Raises:
        StackError: there is none, or neither was named.
    """
    if number is not None:
        try:
            return client.project_numbered(number)
        except RefusedError as error:
            if error.status != httpx.codes.NOT_FOUND:
                raise
            raise StackError(
                f"{client.url} has no project {number}: take the number from the project's address."
            ) from error
    if title is None:
        raise StackError("No project was named: give --project NUMBER or --title TITLE.")
    found = client.project(title)
    if found is None:
        raise StackError(f"{client.url} has no project {title!r}: create it there, or give --project NUMBER.")
    return found


def find_backend(client: LabelStudio, project: int, url: str | None = None) -> dict[str, Any] | None:
    """The connection to our backend: the one at this address, or else the one of our title."""
    backends = client.backends(project)
    at_address = [one for one in backends if url and _bare(one["url"]) == _bare(url)]
    ours = [one for one in backends if one["title"] == BACKEND_TITLE]
    return next(iter([*at_address, *ours]), None)


def ensure_interface(client: LabelStudio, project: int, wanted: Wanted) -> Step:
    """A labelling configuration with the controls that ask for masks, and the one that takes them."""
    present = client.project_numbered(project)["label_config"] or ""
    update = update_interface(present, wanted.labels, wanted.shape)
    if not update.changes:
        return Step("labelling configuration", SAME)
    client.update_project(project, label_config=update.config)
    return Step("labelling configuration", UPDATED, "; ".join(update.changes))


def ensure_webhook(
    client: LabelStudio, project: int, wanted: Wanted, earlier: Collection[str] = ()
) -> Iterator[Step]:
    """One webhook to the backend with its secret; those of its `earlier` addresses go."""
    url = _hook(wanted.backend_url)
    fields = {
        "url": url,
        "send_payload": True,
        "send_for_all_actions": False,
        "actions": list(WEBHOOK_ACTIONS),
        "is_active": True,
    }
    if wanted.webhook_secret:
        fields["headers"] = {SECRET_HEADER: wanted.webhook_secret}
    ours = sorted(
        _our_webhooks(client, project, {url, *map(_hook, earlier)}), key=lambda one: bool(one["url"] != url)
    )
    yield _put_webhook(client, project, next(iter(ours), None), fields)
    for webhook in ours[1:]:
        client.delete_webhook(webhook["id"])
        yield Step("leftover webhook", "removed", webhook["url"])


def ensure_backend(client: LabelStudio, project: int, wanted: Wanted) -> Iterator[Step]:
    """The interactive connection to the backend, of which there is one."""
    fields: dict[str, object] = {"url": _bare(wanted.backend_url), "is_interactive": True}
    fields |= {"title": BACKEND_TITLE, "auth_method": "BASIC_AUTH" if wanted.basic_user else "NONE"}
    if wanted.basic_user:
        fields |= {"basic_auth_user": wanted.basic_user, "basic_auth_pass": wanted.basic_password}
    kept = find_backend(client, project, wanted.backend_url)
    try:
        yield _put_backend(client, project, kept, fields)
    except RefusedError as error:
        raise StackError(f"{error} {backend_remedy(str(error))}") from error
    for backend in client.backends(project):
        ours = backend["title"] == BACKEND_TITLE or _bare(backend["url"]) == fields["url"]
        if kept is not None and ours and backend["id"] != kept["id"]:
            client.delete_backend(backend["id"])
            yield Step("leftover backend", "removed", backend["url"])


def ensure_settings(client: LabelStudio, project: int, wanted: Wanted) -> Step:
    """Settings of the project that clicking needs, and those that were asked for."""
    present = client.project_numbered(project)
    fields: dict[str, object] = {}
    if not shows_stored_predictions(client, present):
        # Opening a task must not wait for a prediction that nobody clicked for.
        fields["show_collab_predictions"] = False
    if wanted.sampling is not None:
        fields["sampling"] = wanted.sampling
    if wanted.instruction is not None or not present["expert_instruction"]:
        fields["expert_instruction"] = wanted.instruction or INSTRUCTION
    changed = {name: value for name, value in fields.items() if present[name] != value}
    if not changed:
        return Step("settings", SAME)
    if "show_collab_predictions" not in changed:
        client.update_project(project, **changed)
    else:  # Label Studio forgets the model version together with this switch
        client.update_project(project, model_version=present["model_version"], **changed)
    return Step("settings", UPDATED, ", ".join(changed))


def ensure_model_version(client: LabelStudio, project: int) -> Step:
    """The version whose scores Label Studio shows: the one that the backend answers with now.

    Label Studio takes a version only when a prediction of it is stored. A ranking stays in force: it shows
    the masks too, and without it tasks would come in another order.
    """
    backend = find_backend(client, project)
    version = str(backend["model_version"]) if backend else ""
    present = client.project_numbered(project)["model_version"] or ""
    if present == version or present.startswith(RANKING):
        return Step("model version", SAME, present)
    if version not in client.prediction_counts(project):
        return Step("model version", SAME, f"no prediction of {version} is stored; preannotating sets it")
    client.update_project(project, model_version=version)
    return Step("model version", UPDATED, version)


def shows_stored_predictions(client: LabelStudio, project: Mapping[str, Any]) -> bool:
    """Whether labelers are shown stored predictions of one version, for which no backend is asked."""
    version = project["model_version"]
    return bool(project["show_collab_predictions"]) and version in client.prediction_counts(project["id"])


def backend_remedy(message: str) -> str:
    """What to do when Label Studio cannot use the backend, by what it says."""
    if BLOCKED in message:
        return ML_REMEDY
    if "authentication parameters" in message or "401" in message:
        return AUTH_REMEDY
    return REACH_REMEDY


def _put_webhook(
    client: LabelStudio, project: int, present: dict[str, Any] | None, fields: dict[str, Any]
) -> Step:
    guarded = bool(fields.get("headers") or (present or {}).get("headers"))
    detail = f"{fields['url']}, {'with its secret' if guarded else 'without a secret'}"
    if present is not None and all(_equal(present[name], value) for name, value in fields.items()):
        return Step("webhook", SAME, detail)
    try:
        if present is None:
            client.create_webhook(project=project, **fields)
        else:
            client.update_webhook(present["id"], **fields)
    except RefusedError as error:
        raise StackError(f"{error} {WEBHOOK_REMEDY if BLOCKED in str(error) else ''}".strip()) from error
    return Step("webhook", UPDATED if present else CREATED, detail)


def _put_backend(
    client: LabelStudio, project: int, present: dict[str, Any] | None, fields: dict[str, Any]
) -> Step:
    if present is None:
        client.create_backend(project=project, **fields)
        return Step("backend", CREATED, fields["url"])
    public = {name: value for name, value in fields.items() if name != "basic_auth_pass"}
    if present["state"] == "CO" and all(present[name] == value for name, value in public.items()):
        return Step("backend", SAME, fields["url"])
    client.update_backend(present["id"], project=project, **fields)
    return Step("backend", UPDATED, fields["url"])


def _our_webhooks(client: LabelStudio, project: int, urls: Collection[str]) -> list[dict[str, Any]]:
    """Webhooks to our backend: at these addresses, with our header, or of a backend that is no more."""
    others = {_hook(one["url"]) for one in client.backends(project) if one["title"] != BACKEND_TITLE}
    return [
        one
        for one in client.webhooks(project)
        if one["url"] in urls or SECRET_HEADER in (one["headers"] or {}) or _is_orphan(one, others)
    ]


def _is_orphan(webhook: Mapping[str, Any], others: set[str]) -> bool:
    """Whether Label Studio made a webhook for a backend that has been deleted since, or is ours."""
    by_itself = webhook["send_for_all_actions"] and not webhook["headers"]
    return by_itself and webhook["url"].endswith("/webhook") and webhook["url"] not in others


def _equal(present: Any, wanted: Any) -> bool:
    """Label Studio gives actions in an order of its own."""
    return sorted(present) == sorted(wanted) if isinstance(wanted, list) else present == wanted


def _bare(url: str) -> str:
    return url.rstrip("/")


def _hook(backend_url: str) -> str:
    """Where a backend takes webhooks."""
    return f"{_bare(backend_url)}/webhook"
