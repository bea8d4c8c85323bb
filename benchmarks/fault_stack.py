"""A stack whose parts can be killed, cut off and started again one by one, with a retrain of a few seconds.

Everything is real: Label Studio, MLflow, Prefect's server and worker, the backend, git and DVC. The flow sees
its three servers through proxies that fail on demand.
"""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import yaml

from benchmarks.failing_proxy import FailingProxy
from maskloop.images import decode_image
from pipelines.data.samples import load_samples
from pipelines.data.shards import read_rows
from pipelines.data.snapshot import read_snapshot
from pipelines.label_studio.client import LabelStudio
from pipelines.promotion.registry import CHALLENGER, CHAMPION, Registry
from pipelines.stack import catalog, project
from pipelines.stack.config import REPOSITORY, StackConfig, remember_ports
from pipelines.stack.labeler import painted
from pipelines.stack.prefect_api import FINAL_STATES, bury_lost_runs, deploy, flow_state
from pipelines.stack.services import Service, Services
from pipelines.versioning import open_worktree

SMALL = {
    "prepare": {"rendered": 4},
    "train": {"steps": 2, "batch": 2, "size": 96, "warmup": 1},
    "evaluate": {"max_clicks": 2, "objects": 2, "general_objects": 2, "latency_clicks": 2},
}
"""Parameters of a retrain that takes seconds; its result is worthless, its steps are all there."""
STEPS = {
    "collect": r"masks wait to be trained on",
    "snapshot": r"masks are new",
    "repro": r"Running stage 'train'",
    "register": r"'reproduce-\w+' - Finished in state Completed",
    "judge": r"'register-\w+' - Finished in state Completed",
}
"""The first line of the worker's log that tells that a step has begun."""
PROGRAMS = {
    "worker": r"prefect worker start",
    "flow": r"prefect\.(flow_)?engine|_workspace_supervisor",
    "supervisor": r"supervise\.py .*dvc repro",
    "dvc": r"-m dvc repro",
    "training": r"pipelines\.stages\.train",
    "backend": r"-m ml_backend",
}
DEPLOYMENT = "deployments/name/retrain/retrain"
PATIENT: dict[str, Any] = {"timeout": 120.0, "trust_env": False}  # on a busy machine a server takes its time


@dataclass
class FaultStack:
    """The parts by name, and what is done with them."""

    config: StackConfig
    services: dict[str, Services] = field(default_factory=dict)
    definitions: dict[str, Service] = field(default_factory=dict)
    proxies: dict[str, FailingProxy] = field(default_factory=dict)
    project: int = 0
    backend: int = 0
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, name: str, service: Service | None = None) -> None:
        """Start a part, or start it again."""
        self.definitions[name] = service or self.definitions[name]
        self.services[name] = Services(lambda text: None)
        self.services[name].start(self.definitions[name])

    def start_worker(self, **environment: str) -> None:
        """The worker, which gives the flow its settings: the addresses are those of the proxies."""
        worker = catalog.worker(self.config, self.project)
        proxied = {
            "MASKLOOP_LABEL_STUDIO_URL": self.proxies["Label Studio"].url,
            "MLFLOW_TRACKING_URI": self.proxies["MLflow"].url,
            "PREFECT_API_URL": f"{self.proxies['Prefect'].url}/api",
            "MASKLOOP_SPARE_MB": "64",
            "OMP_NUM_THREADS": "1",
        }
        settings = {**worker.environment, **proxied, **self.environment, **environment}
        self.start("worker", replace(worker, environment=settings))

    def kill(self, *names: str) -> None:
        """SIGKILL to programs of this stack, whoever their parent is."""
        for name in names:
            for process in self.find(name):
                with suppress(psutil.NoSuchProcess):
                    process.kill()

    def find(self, name: str) -> list[psutil.Process]:
        return [one for one in self.processes() if re.search(PROGRAMS[name], _command(one))]

    def processes(self) -> list[psutil.Process]:
        """All that work for this stack: its services and what they started, orphans too."""
        mine = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if str(self.config.data) in f"{process.environ()} {process.cwd()} {_command(process)}":
                    mine.append(process)
        return [one for one in mine if one.pid != os.getpid()]

    def orphans(self, patience: float = 15.0) -> list[str]:
        """Programs of a retrain that still run, and go on: those of a run that ended get some time to go."""
        names = ("flow", "supervisor", "dvc", "training")
        with suppress(TimeoutError):
            self.wait(lambda: not any(map(self.find, names)), patience, "the end of all programs")
        return [_command(process)[-90:] for name in names for process in self.find(name)]

    def annotate(self, masks: int = 2) -> None:
        """One annotation of some masks, as an annotator submits it."""
        with LabelStudio(self.config.label_studio_url, self.config.secrets.token) as client:
            tasks = client.tasks(self.project)
            task = min(tasks, key=lambda one: len(one["annotations"]))
            client.submit(task["id"], [painted(_disk(task, number)) for number in range(masks)], 1.0)

    def truth(self) -> set[tuple[int, str, str]]:
        """What Label Studio holds: annotation, region and time of each mask."""
        with LabelStudio(self.config.label_studio_url, self.config.secrets.token) as client:
            tasks = client.tasks(self.project)
        return {
            (annotation["id"], result["id"], annotation["updated_at"])
            for task in tasks
            for annotation in task["annotations"]
            for result in annotation["result"]
            if not annotation["was_cancelled"]
        }

    def collected(self) -> list[tuple[int, str, str]]:
        """What the newest snapshot holds, doubles and all."""
        with open_worktree(self.config.root, f"check-{time.time_ns()}", lambda line: None) as worktree:
            columns = ("annotation_id", "region_id", "updated_at", "rle")
            rows = read_rows(worktree.path, read_snapshot(worktree.path), columns).to_pylist()
        return [(row["annotation_id"], row["region_id"], row["updated_at"]) for row in rows if row["rle"]]

    def run(self, minimum: int = 1) -> str:
        """Ask for a retrain; returns the run's id."""
        api = self.config.prefect_api
        deployment = _json(httpx.get(f"{api}/{DEPLOYMENT}", **PATIENT))["id"]
        body = {"state": {"type": "SCHEDULED"}, "parameters": {"reason": "fault", "minimum": minimum}}
        url = f"{api}/deployments/{deployment}/create_flow_run"
        return str(_json(_post(url, body))["id"])

    def state(self, run: str) -> dict[str, Any]:
        return flow_state(self.config, run)

    def await_end(self, run: str, patience: float = 1200.0) -> dict[str, Any]:
        self.wait(lambda: self.state(run)["type"] in FINAL_STATES, patience, f"end of run {run}")
        return self.state(run)

    def await_step(self, step: str, since: int, patience: float = 1200.0) -> None:
        self.wait(lambda: re.search(STEPS[step], self.log(since)) is not None, patience, f"step {step}")

    def log(self, since: int = 0) -> str:
        """The worker's log from this byte on: lines of the flow come there at once, to the server later."""
        path = self.config.log("worker")
        return path.read_bytes()[since:].decode(errors="replace") if path.exists() else ""

    def mark(self) -> int:
        path = self.config.log("worker")
        return path.stat().st_size if path.exists() else 0

    @staticmethod
    def wait(happened: Callable[[], bool], patience: float, what: str) -> None:
        deadline = time.monotonic() + patience
        while not happened():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not come within {patience:.0f} s")
            time.sleep(0.2)

    def complaints(self) -> list[str]:
        """What is not as it must be, once a run has completed."""
        truth, rows = self.truth(), self.collected()
        found = [f"{len(truth - set(rows))} masks lost"] if truth - set(rows) else []
        found += [f"{len(rows) - len(set(rows))} masks doubled"] if len(rows) != len(set(rows)) else []
        found += [f"left over: {path.name}" for path in self.config.root.glob(".maskloop/worktrees/*")]
        found += [f"orphan: {command}" for command in self.orphans()]
        registry = Registry(self.config.mlflow_url)
        champion, challenger = registry.holder(CHAMPION), registry.holder(CHALLENGER)
        if champion is None or challenger is None:
            return [*found, "an alias is missing"]
        scratch = self.config.data / f"download-{time.time_ns()}"
        registry.download(champion, scratch)  # checks the digest, and that it loads
        return found


@contextmanager
def fault_stack(config: StackConfig, events: bool = False) -> Iterator[FaultStack]:
    """The stack with small retrains; it keeps its data, so that a later start is quick.

    With `events` annotations start retrains, through the webhook.
    """
    stack = FaultStack(config)
    _clone(config.root)
    try:
        for name, service in {
            "Label Studio": catalog.label_studio(config),
            "MLflow": catalog.mlflow(config),
            "Prefect": catalog.prefect(config),
        }.items():
            stack.start(name, service)
            stack.proxies[name] = FailingProxy(service.port or 0)
        remember_ports(config)
        Registry(config.mlflow_url).ensure_champion(catalog.checkpoint(config))
        stack.start("backend", catalog.backend(config, events))
        with LabelStudio(config.label_studio_url, config.secrets.token) as client:
            stack.project = project.ensure_project(client)
            project.ensure_samples(client, stack.project, load_samples())
            if events:
                address, secret = config.backend_url, config.secrets.webhook
                stack.backend = project.ensure_connection(client, stack.project, address, secret)
        bury_lost_runs(config)
        stack.start_worker()
        deploy(config, schedules=False)
        yield stack
    finally:
        for services in reversed(stack.services.values()):
            services.stop()


def _clone(root: Path) -> None:
    """A clone whose committed parameters are the small ones, as every retrain takes them from HEAD."""
    if (root / ".git").exists():
        return
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(root)], check=True)
    params = root / "params.yaml"
    text = params.read_text(encoding="utf-8")
    for section, values in SMALL.items():
        for name, value in values.items():
            place = re.compile(rf"(^{section}:\n(?:[ #].*\n|\n)*?  {name}: *)\S+", re.MULTILINE)
            text = place.sub(rf"\g<1>{value}", text, count=1)
    set_now = yaml.safe_load(text)
    if any(set_now[section][name] != value for section in SMALL for name, value in SMALL[section].items()):
        raise ValueError(f"{params} has no longer the parameters that are made small here: adapt SMALL.")
    params.write_text(text, encoding="utf-8")
    identity = ["-c", "user.name=faults", "-c", "user.email=faults@localhost"]
    subprocess.run(["git", *identity, "commit", "--quiet", "-am", "Small"], cwd=root, check=True)


def _disk(task: Mapping[str, Any], number: int) -> np.ndarray:
    """A mask that differs from annotation to annotation."""
    sizes = {f"{photo.name}{photo.suffix}": photo for photo in load_samples()}
    photo = sizes[project.uploaded_name(dict(task))]
    height, width = decode_image(photo.image_bytes).shape[:2]
    rows, cols = np.ogrid[:height, :width]
    row, col = np.random.default_rng().integers((height // 4, width // 4), (3 * height // 4, 3 * width // 4))
    return (rows - row) ** 2 + (cols - col) ** 2 < (min(height, width) // (6 + number)) ** 2


def _command(process: psutil.Process) -> str:
    return " ".join(process.cmdline())


def _post(url: str, body: dict[str, Any]) -> httpx.Response:
    """Prefect's server answers 503 while its database is busy; then its own client asks again, too."""
    for _ in range(5):
        answer = httpx.post(url, json=body, **PATIENT)
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            break
        time.sleep(2)
    return answer


def _json(answer: httpx.Response) -> Any:
    return answer.raise_for_status().json()
