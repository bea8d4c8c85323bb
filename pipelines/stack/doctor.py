"""The doctor: what is wrong with this machine or its stack, and what to do about it."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from pipelines.label_studio.checks import Finding, Links, examine_links, guarded
from pipelines.label_studio.client import LabelStudio
from pipelines.stack import catalog
from pipelines.stack.config import REPOSITORY, StackConfig, remembered_ports
from pipelines.stack.errors import StackError
from pipelines.stack.project import TITLE
from pipelines.stack.services import answers, port_is_free
from pipelines.stack.up import Say, say_now

LEAST_GIGABYTES = 5.0
"""A retrain keeps a worktree, data and checkpoints; a full disk damages the databases of all services."""


def doctor(data: Path | None = None, say: Say = say_now) -> None:
    """Look at this machine and the stack of a data folder, and tell it.

    Raises StackError when something is not as it must be.
    """
    folder = data or REPOSITORY / ".maskloop"
    _tell(examine(StackConfig(folder, ports=remembered_ports(folder))), say)


def doctor_links(client: LabelStudio, links: Links, say: Say = say_now) -> None:
    """Look at a project of any Label Studio and its backend, and tell it.

    Raises StackError when something is not as it must be.
    """
    _tell(examine_links(client, links), say)


def _tell(findings: Iterator[Finding], say: Say) -> None:
    """Tell each finding as it is made."""
    names, bad = [], []
    for finding in findings:
        say(f"{'ok ' if finding.good else 'BAD'}  {finding.name}: {finding.detail}")
        names.append(finding.name)
        bad += [] if finding.good else [finding.name]
    if bad:
        raise StackError(f"{len(bad)} of {len(names)} checks failed: {', '.join(bad)}.")


def examine(config: StackConfig) -> Iterator[Finding]:
    """Findings about the machine, then about the services, then about what connects them."""
    well = True
    for finding in (*_machine(config), *_services(config)):
        well &= finding.good
        yield finding
    if well:
        yield from _connections(config)


def _machine(config: StackConfig) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("Python", sys.version_info >= (3, 11), f"{version}; 3.11 or newer is needed")
    git = shutil.which("git")
    yield Finding("git", git is not None, git or "missing: install the package git.")
    program = shutil.which(catalog.label_studio_program())
    remedy = f"run `make setup`, or set {catalog.LABEL_STUDIO_VARIABLE} to the program."
    yield Finding("Label Studio's program", program is not None, program or f"missing: {remedy}")
    yield guarded("default checkpoint", lambda: _checkpoint(config))
    yield _disk(config)


def _disk(config: StackConfig) -> Finding:
    """Room where the data folder is, or will be made."""
    folder = next(one for one in (config.data, *config.data.parents) if one.exists())
    free = shutil.disk_usage(folder).free / 2**30
    detail = f"{free:.1f} GiB free for {config.data}"
    if free >= LEAST_GIGABYTES:
        return Finding("disk", True, detail)
    return Finding("disk", False, f"{detail}: make room for {LEAST_GIGABYTES:.0f}, or move it with --data.")


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
    with LabelStudio(config.label_studio_url, config.secrets.token) as client:
        project = client.project(TITLE)
        if project is None:
            yield Finding("project", False, f"{TITLE!r} is missing: run `maskloop up`, which makes it.")
            return
        yield from examine_links(client, Links(project["id"], config.backend_url, config.mlflow_url))
    yield guarded("Prefect worker", lambda: _worker(config))


def _worker(config: StackConfig) -> Finding:
    online = catalog.worker_is_online(config)
    return Finding("Prefect worker", online, "online" if online else "none is online: run `maskloop up`.")
