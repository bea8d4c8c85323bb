"""Checks of the links between Label Studio, its project and the backend: what is wrong, and the remedy.

Nothing is changed. Where Label Studio keeps the reason of a failure to itself, it is asked to save a record
as it is, which makes it try the link and say what is wrong.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from maskloop.errors import MaskloopError
from pipelines.label_studio.client import LabelStudio
from pipelines.label_studio.connection import (
    BLOCKED,
    SECRET_HEADER,
    WEBHOOK_ACTIONS,
    WEBHOOK_REMEDY,
    backend_remedy,
    find_backend,
)
from pipelines.label_studio.credentials import LEGACY
from pipelines.label_studio.interface import Interface, read_interface
from pipelines.stack.errors import RefusedError

CLOCK_SECONDS = 30.0
CONNECT = "run `maskloop connect`, which mends it."


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `detail` says what was seen, and, where it is bad, the remedy."""

    name: str
    good: bool
    detail: str


@dataclass(frozen=True)
class Links:
    """What is to be looked at.

    backend_url: the backend's address as seen from here; empty: the one that Label Studio has.
    mlflow_url: the registry whose champion should be served; empty: none is known.
    task: the task to click on; None: the first of the project.
    """

    project: int
    backend_url: str = ""
    mlflow_url: str = ""
    model: str = "maskloop"
    task: int | None = None


def examine_links(client: LabelStudio, links: Links) -> Iterator[Finding]:
    """Findings from Label Studio's door to a click's mask; what depends on a broken link is left out."""
    first = [check_label_studio(client.url), guarded("token", lambda: check_token(client))]
    yield from first
    if not all(finding.good for finding in first):
        return
    yield guarded("clock of Label Studio", lambda: check_clock("clock of Label Studio", client.url))
    try:
        project = client.project_numbered(links.project)
        record = find_backend(client, links.project, links.backend_url or None)
    except MaskloopError as error:
        yield Finding("project", False, f"{error} Take its number from its address.")
        return
    yield guarded("labelling configuration", lambda: check_interface(project))
    if record is None:
        yield Finding("backend in Label Studio", False, f"the project has none: {CONNECT}")
        return
    yield from _examine_backend(client, links, project, record)


def _examine_backend(
    client: LabelStudio, links: Links, project: Mapping[str, Any], record: Mapping[str, Any]
) -> Iterator[Finding]:
    url = (links.backend_url or str(record["url"])).rstrip("/")
    yield guarded("backend in Label Studio", lambda: check_backend(client, links.project, record))
    yield check_interactive(record)
    here = guarded("backend from here", lambda: check_backend_here(url))
    yield here
    yield guarded("webhook", lambda: check_webhook(client, links.project, record, url if here.good else ""))
    if here.good:
        yield guarded("clock of the backend", lambda: check_clock("clock of the backend", url))
        yield guarded("model version", lambda: check_model_version(links, record, url))
    if here.good and record["state"] == "CO":
        yield guarded("click", lambda: check_click(client, links, project, record, url))
    yield Finding(
        "auto-accept",
        True,
        "is a switch in each labeler's browser: leave it off, or every click begins a new object",
    )


def guarded(name: str, look: Callable[[], Finding]) -> Finding:
    """A look that raises is a finding too."""
    try:
        return look()
    except (MaskloopError, httpx.HTTPError) as error:
        return Finding(name, False, str(error) or type(error).__name__)


def check_label_studio(url: str) -> Finding:
    name = "Label Studio from here"
    try:
        answer = _get(f"{url}/health")
    except httpx.HTTPError as error:
        return Finding(name, False, f"{url} does not answer ({error}): start it, or correct the address.")
    if answer.is_error:
        return Finding(name, False, f"{url} answers {answer.status_code}: is it a Label Studio?")
    return Finding(name, True, f"answers at {url}")


def check_token(client: LabelStudio) -> Finding:
    """Whether Label Studio takes the token, and what to do if it does not, by the token's kind."""
    kind = client.credentials.kind
    try:
        return Finding("token", True, f"a {kind}, taken as {client.user()['email']}")
    except RefusedError as error:
        if error.status != httpx.codes.UNAUTHORIZED:
            raise
        return Finding("token", False, f"the {kind} is refused: {_token_remedy(kind, str(error))}")


def _token_remedy(kind: str, message: str) -> str:
    if kind != LEGACY:
        return "it has expired or was revoked; make a new one on the page Account & Settings."
    if "has been disabled" in message:
        return (
            "the organization has legacy tokens switched off. Make a personal access token on the page "
            "Account & Settings and use that, or switch legacy tokens on under Organization, API Tokens "
            "Settings."
        )
    return "copy it anew from the page Account & Settings; a legacy token has 40 letters and digits."


def check_clock(name: str, url: str) -> Finding:
    """A clock that is wrong spoils access tokens, and the times by which new annotations are found."""
    header = _get(f"{url}/health").headers.get("date", "")
    try:
        away = parsedate_to_datetime(header).timestamp() - time.time()
    except ValueError:
        return Finding(name, True, "not told")
    if abs(away) <= CLOCK_SECONDS:
        return Finding(name, True, f"within {CLOCK_SECONDS:.0f} s of ours")
    return Finding(name, False, f"is {away:+.0f} s off ours: let NTP set the clocks of both machines.")


def check_interface(project: Mapping[str, Any]) -> Finding:
    """Whether the configuration can ask for masks with every label, and store them."""
    interface = read_interface(project["label_config"] or "")
    wrong = list(_interface_faults(interface))
    name = "labelling configuration"
    if wrong:
        return Finding(name, False, f"{'; '.join(wrong)}: {CONNECT}")
    return Finding(name, True, f"masks as {interface.shape}, labels {', '.join(interface.labels)}")


def _interface_faults(interface: Interface) -> Iterator[str]:
    if not interface.outputs:
        yield "nothing takes masks (BrushLabels, PolygonLabels or BitmaskLabels on the image)"
    if interface.include is None:
        yield "no smart KeyPointLabels takes clicks"
    if interface.exclude is None:
        yield "no smart KeyPointLabels named exclude takes negative clicks"
    labels = set(interface.labels)
    for control in filter(None, (interface.include, interface.exclude, interface.box)):
        if missing := labels - set(control.labels):
            yield f"{control.name} lacks the labels {', '.join(sorted(missing))}"
        if unknown := set(control.labels) - labels:
            yield f"{control.name} has labels that no mask can get: {', '.join(sorted(unknown))}"


def check_backend(client: LabelStudio, project: int, record: Mapping[str, Any]) -> Finding:
    """Whether Label Studio reaches the backend, which it has just tried."""
    name, url = "backend in Label Studio", record["url"]
    if record["state"] == "CO":
        return Finding(name, True, f"connected at {url}, {_authentication(record)}")
    message = str(record["error_message"] or "")
    if record["state"] == "DI":  # then it keeps the reason to itself
        message = _reason_of_backend(client, project, record)
    if not message:
        return Finding(name, True, f"connected at {url} at the second attempt: it may be slow to answer")
    return Finding(name, False, f"{url}: {message} {backend_remedy(message)}")


def _authentication(record: Mapping[str, Any]) -> str:
    if record["auth_method"] == "NONE":
        return "without basic authentication"
    return f"basic authentication as {record['basic_auth_user']}"


def _reason_of_backend(client: LabelStudio, project: int, record: Mapping[str, Any]) -> str:
    """Why Label Studio does not reach a backend; empty when now it does."""
    try:
        client.update_backend(record["id"], project=project, url=record["url"])
    except RefusedError as error:
        return str(error)
    return ""


def check_interactive(record: Mapping[str, Any]) -> Finding:
    if record["is_interactive"]:
        return Finding("interactive", True, "clicks are sent to the backend")
    return Finding(
        "interactive", False, f"the backend's switch 'Interactive preannotations' is off: {CONNECT}"
    )


def check_backend_here(url: str) -> Finding:
    name = "backend from here"
    try:
        version = _served_version(url)
    except httpx.HTTPError as error:
        detail = (
            f"{url} does not answer ({error}). {backend_remedy('')} From here it may have another address: "
        )
        return Finding(name, False, detail + "give that as --backend.")
    if version is None:
        return Finding(name, False, f"{url} answers, but not as maskloop's backend: correct the address.")
    return Finding(name, True, f"serves {version} at {url}")


def check_webhook(client: LabelStudio, project: int, record: Mapping[str, Any], here: str) -> Finding:
    """Whether the backend hears of annotations. `here` is its address; empty: it is not asked."""
    name, url = "webhook", f"{str(record['url']).rstrip('/')}/webhook"
    hooks = [one for one in client.webhooks(project) if one["url"] == url]
    if not hooks:
        return Finding(name, False, f"none is sent to {url}: {CONNECT}")
    if fault := _webhook_fault(hooks):
        return Finding(name, False, f"{fault}: {CONNECT}")
    if blocked := _is_blocked(client, hooks[0]):
        return Finding(name, False, f"{blocked} {WEBHOOK_REMEDY}")
    headers = hooks[0]["headers"] or {}
    if here and (refused := _refusal(here, headers)):
        return Finding(name, False, refused)
    secret = "with its secret" if SECRET_HEADER in headers else "without a secret"
    return Finding(name, True, f"sent to {url} {secret}")


def _webhook_fault(hooks: list[dict[str, Any]]) -> str:
    if len(hooks) > 1:
        return f"{len(hooks)} are sent to the backend, so that it hears all twice"
    (hook,) = hooks
    if not hook["is_active"]:
        return "it is switched off"
    missing = set(WEBHOOK_ACTIONS) - set(hook["actions"])
    if missing and not hook["send_for_all_actions"]:
        return f"it is not sent for {', '.join(sorted(missing))}"
    return ""


def _is_blocked(client: LabelStudio, hook: Mapping[str, Any]) -> str:
    """What Label Studio has against a webhook's address; empty for nothing."""
    fields = ("url", "headers", "send_payload", "send_for_all_actions", "actions", "is_active")
    try:
        client.update_webhook(hook["id"], **{field: hook[field] for field in fields})
    except RefusedError as error:
        if BLOCKED not in str(error):
            raise
        return str(error)
    return ""


def _refusal(url: str, headers: Mapping[str, str]) -> str:
    """What the backend has against a webhook with these headers; empty for nothing."""
    body = {"action": "DOCTOR"}  # one that it does not act on
    answer = httpx.post(f"{url}/webhook", json=body, headers=dict(headers), timeout=5.0, trust_env=False)
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        return (
            "the backend refuses it with 401: its secret is not the backend's. Give MASKLOOP_WEBHOOK_SECRET "
            "to `maskloop connect` as --webhook-secret."
        )
    return f"the backend answers it with {answer.status_code}: its log tells why." if answer.is_error else ""


def check_model_version(links: Links, record: Mapping[str, Any], url: str) -> Finding:
    """Whether Label Studio, the backend and the registry mean the same model."""
    served = _served_version(url)
    if record["state"] == "CO" and record["model_version"] != served:
        detail = (
            f"{served} is served here, and Label Studio hears of {record['model_version']}: two backends run"
        )
        return Finding("model version", False, f"{detail}; give the right address as --backend, or stop one.")
    if not links.mlflow_url:
        return Finding("model version", True, f"{served} is served")
    from pipelines.promotion.registry import CHAMPION, Registry

    champion = Registry(links.mlflow_url, links.model).holder(CHAMPION)
    wanted = champion.served_as if champion else "no champion"
    if served == wanted:
        return Finding("model version", True, f"{served} is served, and is the champion")
    detail = f"{served} is served, but the champion is {wanted}: the backend's log tells why."
    return Finding("model version", False, detail)


def check_click(
    client: LabelStudio, links: Links, project: Mapping[str, Any], record: Mapping[str, Any], url: str
) -> Finding:
    """One real click through Label Studio, which needs the image, the token and the model."""
    tasks = [client.task(links.task)] if links.task else next(client.tasks_by_id(links.project, 1), [])
    if not tasks:
        return Finding("click", True, "not tried: the project has no task; import an image")
    task, interface = tasks[0], read_interface(project["label_config"] or "")
    prompt = _click_in_the_middle(interface)
    started = time.perf_counter()
    try:
        answer = client.predict(record["id"], task["id"], [prompt])
    except MaskloopError as error:
        reason = _reason_of_click(url, project, task, prompt)
        return Finding("click", False, f"{error} {reason or _click_remedy(str(error))}")
    seconds = time.perf_counter() - started
    seen = "a mask" if answer.get("result") else "nothing there, which may be so"
    return Finding("click", True, f"in the middle of task {task['id']}: {seen}, after {seconds:.1f} s")


def _click_in_the_middle(interface: Interface) -> dict[str, Any]:
    control = interface.include
    label = control.labels[:1] if control else ()
    return {
        "id": "doctor0000",
        "type": "keypointlabels",
        "from_name": control.name if control else "include",
        "to_name": interface.image,
        "origin": "manual",
        "is_positive": True,
        "image_rotation": 0,
        "value": {"x": 50.0, "y": 50.0, "width": 0.3, "keypointlabels": list(label)},
    }


def _reason_of_click(
    url: str, project: Mapping[str, Any], task: Mapping[str, Any], prompt: Mapping[str, Any]
) -> str:
    """What the backend itself says of a click that failed, which Label Studio does not pass on."""
    body = {
        "tasks": [{"id": task["id"], "data": task["data"], "project": project["id"]}],
        "project": str(project["id"]),
        "label_config": project["label_config"],
        "params": {"context": {"result": [prompt]}},
    }
    try:
        answer = httpx.post(f"{url}/predict", json=body, timeout=60.0, trust_env=False)
        return "" if answer.status_code == httpx.codes.UNAUTHORIZED else str(answer.json()["error"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return ""


def _click_remedy(message: str) -> str:
    """The remedy by the status that Label Studio quotes."""
    if "424" in message:
        return "It cannot read the image: check its MASKLOOP_LABEL_STUDIO_TOKEN; its log tells more."
    if "502" in message:
        return "It does not reach Label Studio: check its MASKLOOP_LABEL_STUDIO_URL."
    return "The backend's log tells why."


def _served_version(url: str) -> str | None:
    """The model version that a backend of ours serves; None when it is something else.

    Raises httpx.HTTPError when nothing answers.
    """
    answer = _get(f"{url}/health")
    try:
        return str(answer.json()["model_version"])
    except (ValueError, KeyError, TypeError):
        return None


def _get(url: str) -> httpx.Response:
    return httpx.get(url, timeout=5.0, trust_env=False)
