"""The doctor: what is wrong with this machine or its stack, and what to do about it."""

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from maskloop.errors import MaskloopError
from pipelines.stack import catalog
from pipelines.stack.config import REPOSITORY, StackConfig, remembered_ports
from pipelines.stack.errors import StackError
from pipelines.stack.label_studio import LabelStudio
from pipelines.stack.project import BACKEND_TITLE, TITLE
from pipelines.stack.services import answers, port_is_free
from pipelines.stack.up import Say, say_now

SSRF_HINT = (
    "Label Studio refuses private addresses unless it is started with ML_BLOCK_LOCAL_IP=false and "
    "SSRF_PROTECTION_ENABLED=false, as `maskloop up` does."
)


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `detail` says what was seen, and, where it is bad, the remedy."""

    name: str
    good: bool
    detail: str


def doctor(data: Path | None = None, say: Say = say_now) -> None:
    """Look at everything and tell it.

    Raises StackError when something is not as it must be.
    """
    folder = data or REPOSITORY / ".maskloop"
    findings = examine(StackConfig(folder, ports=remembered_ports(folder)))
    for finding in findings:
        say(f"{'ok ' if finding.good else 'BAD'}  {finding.name}: {finding.detail}")
    bad = [finding.name for finding in findings if not finding.good]
    if bad:
        raise StackError(f"{len(bad)} of {len(findings)} checks failed: {', '.join(bad)}.")


def examine(config: StackConfig) -> list[Finding]:
    """Findings about the machine, then about the services, then about what connects them."""
    findings = [*_machine(config), *_services(config)]
    if all(finding.good for finding in findings):
        findings += _connections(config)
    return findings


def _machine(config: StackConfig) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("Python", sys.version_info >= (3, 11), f"{version}; 3.11 or newer is needed")
    git = shutil.which("git")
    yield Finding("git", git is not None, git or "missing: install the package git.")
    program = shutil.which(catalog.label_studio_program())
    remedy = f"run `make setup`, or set {catalog.LABEL_STUDIO_VARIABLE} to the program."
    yield Finding("Label Studio's program", program is not None, program or f"missing: {remedy}")
    yield _guarded("default checkpoint", lambda: _checkpoint(config))


def _checkpoint(config: StackConfig) -> Finding:
    from maskloop.checkpoint import load_checkpoint

    loaded = load_checkpoint(catalog.checkpoint(config))
    return Finding("default checkpoint", True, f"{loaded.name}, sha256 {loaded.sha256[:8]}")


def _services(config: StackConfig) -> Iterator[Finding]:
    ports = config.ports
    yield _service("Label Studio", f"{config.label_studio_url}/health", ports.label_studio)
    yield _service("MLflow", f"{config.mlflow_url}/health", ports.mlflow)
    yield _service("Prefect", f"{config.prefect_api}/health", ports.prefect)
    yield _service("backend", f"{config.backend_url}/health", ports.backend)


def _service(name: str, url: str, port: int) -> Finding:
    if answers(url):
        return Finding(name, True, f"answers on port {port}")
    if port_is_free(port):
        return Finding(name, False, f"is not running on port {port}: start it with `maskloop up`.")
    return Finding(name, False, f"port {port} is taken by a program that is not {name}: stop that program.")


def _connections(config: StackConfig) -> Iterator[Finding]:
    yield _guarded("token", lambda: _token(config))
    yield _guarded("backend in Label Studio", lambda: _backend(config))
    yield _guarded("model version", lambda: _model_version(config))
    yield _guarded("Prefect worker", lambda: _worker(config))


def _token(config: StackConfig) -> Finding:
    with LabelStudio(config.label_studio_url, config.secrets.token) as client:
        return Finding("token", True, f"Label Studio takes it as {client.user()['email']}")


def _backend(config: StackConfig) -> Finding:
    name = "backend in Label Studio"
    with LabelStudio(config.label_studio_url, config.secrets.token) as client:
        project = client.project(TITLE)
        backends = client.backends(project["id"]) if project else []
    connected = [one for one in backends if one["title"] == BACKEND_TITLE]
    if not connected:
        return Finding(name, False, f"project {TITLE!r} has none: run `maskloop up`, which connects it.")
    return _backend_state(name, connected[0])


def _backend_state(name: str, backend: dict[str, Any]) -> Finding:
    if backend["state"] == "CO":
        return Finding(name, True, f"connected at {backend['url']}")
    return Finding(name, False, f"{backend['url']}: {backend['error_message']} {SSRF_HINT}")


def _model_version(config: StackConfig) -> Finding:
    from pipelines.registry import CHAMPION, Registry

    served = httpx.get(f"{config.backend_url}/health", timeout=5.0, trust_env=False).json()["model_version"]
    champion = Registry(config.mlflow_url).holder(CHAMPION)
    wanted = f"maskloop-v{champion.number}" if champion else "no champion"
    if served == wanted:
        return Finding("model version", True, f"{served} is served, and is the champion")
    detail = f"{served} is served, but the champion is {wanted}: {config.log('backend')} tells why."
    return Finding("model version", False, detail)


def _worker(config: StackConfig) -> Finding:
    online = catalog.worker_is_online(config)
    return Finding("Prefect worker", online, "online" if online else "none is online: run `maskloop up`.")


def _guarded(name: str, look: Callable[[], Finding]) -> Finding:
    """A look that raises is a finding too."""
    try:
        return look()
    except (MaskloopError, httpx.HTTPError) as error:
        return Finding(name, False, str(error))
