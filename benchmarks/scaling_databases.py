"""MLflow and Prefect on SQLite and on PostgreSQL: does the registry do its part, what do poll and run take?

    python -m benchmarks.scaling_databases [--databases sqlite postgresql] [--polls 100] [--runs 4]

Starts both services as the stack does, with tables in SQLite or in a PostgreSQL server of its own (Debian's
programs; not as root). The committed checkpoint is registered, becomes champion, is challenged, promoted
and rolled back by `pipelines.promotion.registry`; the alias is polled as the backend does, alone and while
another process writes metrics. Then two Prefect workers, one of them in a clone in another folder, take
short runs that are asked for at once. Prints milliseconds (median, 95th percentile), seconds, and what the
logs say of locks.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx
import numpy as np

from benchmarks.database_server import database
from pipelines.promotion.registry import CHAMPION, Registry
from pipelines.stack import catalog
from pipelines.stack.config import REPOSITORY, Ports, StackConfig
from pipelines.stack.prefect_api import prefect_command
from pipelines.stack.services import Service, Services

T = TypeVar("T")
POLL = "api/2.0/mlflow/registered-models/alias?name=maskloop&alias=champion"
WRITE = """
import sys, time
from mlflow import MlflowClient
from pipelines.promotion.tracking import start_run
client = MlflowClient(sys.argv[1])
run = start_run(client, "writer", {})
while True:
    client.log_metric(run, "loss", 0.5)
"""
FLOW = """
import os
from prefect import flow, task

@task
def step(number: int) -> int:
    return number

@flow(name="short", log_prints=True)
def short() -> None:
    step.map(range(10)).result()
    print("done in", os.getcwd())
"""
DEPLOYMENT = """
name: short
pull:
  - prefect.deployments.steps.set_working_directory:
      directory: "{{ $MASKLOOP_PROJECT_ROOT }}"
deployments:
  - {name: short, entrypoint: "short.py:short", work_pool: {name: local}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--polls", type=int, default=100)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument(
        "--parts", nargs="+", choices=["registry", "workers"], default=["registry", "workers"]
    )
    arguments = parser.parse_args()
    for name in arguments.databases:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            folder.chmod(0o755)  # the user of PostgreSQL comes by
            with chosen(name, folder), Services(lambda _: None) as services:
                print(f"\n{name}", flush=True)
                config = StackConfig(folder / "data", root=make_root(folder / "here"), ports=Ports.free())
                if "registry" in arguments.parts:
                    services.start(catalog.mlflow(config))
                    measure_registry(config, arguments.polls)
                if "workers" in arguments.parts:
                    services.start(catalog.prefect(config))
                    measure_workers(config, services, arguments.runs)
                report_locks(config)


@contextmanager
def chosen(name: str, folder: Path) -> Iterator[None]:
    """The variables of the database in our environment, which the services inherit."""
    if name == "sqlite":
        yield
        return
    with database(folder / "postgresql") as server:
        os.environ.update(server.variables)
        try:
            yield
        finally:
            for variable in server.variables:
                del os.environ[variable]


def measure_registry(config: StackConfig, polls: int) -> None:
    registry = Registry(config.mlflow_url)
    first = took(
        "first champion registered", lambda: registry.ensure_champion(REPOSITORY / "checkpoints/default")
    )
    second = took("challenger registered", lambda: registry.register(first.run_id, first.source, first.tags))
    took("promoted", lambda: registry.promote(second, first))
    assert registry.holder(CHAMPION) == second
    took("rolled back", registry.roll_back)
    assert registry.holder(CHAMPION) == first
    show("poll of the alias", poll(config, polls))
    writer = subprocess.Popen([sys.executable, "-c", WRITE, config.mlflow_url], cwd=REPOSITORY)
    time.sleep(15)
    show("poll while metrics are written", poll(config, polls))
    assert writer.poll() is None, "the writer ended"
    writer.kill()
    writer.wait()


def measure_workers(config: StackConfig, services: Services, runs: int) -> None:
    """Runs that are asked for at once, taken by two workers in folders of their own."""
    there = make_root(config.root.parent / "there")
    first = worker(config, "here", config.root)
    services.start(first)
    services.start(worker(config, "there", there))
    prefect_command(config, "--no-prompt", "deploy", "--all")
    client = httpx.Client(base_url=config.prefect_api, trust_env=False, timeout=300)
    (deployment,) = client.post("/deployments/filter", json={}).json()
    path = f"/deployments/{deployment['id']}/create_flow_run"
    started = time.perf_counter()
    asked = [client.post(path, json={"state": {"type": "SCHEDULED"}}).json()["id"] for _ in range(runs)]
    query = {"flow_runs": {"id": {"any_": asked}}}
    while True:
        found = client.post("/flow_runs/filter", json=query).json()
        states = [run["state_type"] for run in found]
        if all(state in {"COMPLETED", "FAILED", "CRASHED"} for state in states):
            break
        time.sleep(1)
    seconds = time.perf_counter() - started
    lines = client.post("/logs/filter", json={"logs": {"flow_run_id": {"any_": asked}}}).json()
    folders = re.findall(r"done in \S+/(here|there)", "\n".join(str(line["message"]) for line in lines))
    print(
        f"  {runs} runs of 10 tasks by two workers: {states.count('COMPLETED')} completed in {seconds:.0f} s;"
        f" {folders.count('here')} here, {folders.count('there')} there;"
        f" median run {np.median([run['total_run_time'] for run in found]):.1f} s",
        flush=True,
    )


def worker(config: StackConfig, name: str, root: Path) -> Service:
    """A worker with a name and a folder of its own, as the stack starts one."""
    service = catalog.worker(StackConfig(config.data, root, config.ports), 1)
    command = tuple(name if part == "maskloop" else part for part in service.command)
    return Service(
        f"worker {name}",
        command,
        config.log(name),
        ready=lambda: name in online(config),
        environment=service.environment,
        folder=root,
        patience=3600,
    )


def online(config: StackConfig) -> list[str]:
    url = f"{config.prefect_api}/work_pools/{catalog.WORK_POOL}/workers/filter"
    try:
        answer = httpx.post(url, json={}, timeout=60, trust_env=False)
    except httpx.HTTPError:
        return []
    return [one["name"] for one in answer.json()] if answer.is_success else []


def make_root(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "short.py").write_text(FLOW)
    (folder / "prefect.yaml").write_text(DEPLOYMENT)
    return folder


def report_locks(config: StackConfig) -> None:
    for log in sorted((config.data / "logs").glob("*.log")):
        text = log.read_text(errors="replace")
        print(
            f"  {log.stem}: 'database is locked' {len(re.findall('database is locked', text))} times,"
            f" 'ERROR' {len(re.findall(r'ERROR', text))} times",
            flush=True,
        )


def poll(config: StackConfig, count: int) -> list[float]:
    times = []
    with httpx.Client(base_url=config.mlflow_url, trust_env=False, timeout=60) as client:
        for _ in range(count):
            started = time.perf_counter()
            client.get(f"/{POLL}").raise_for_status()
            times.append(time.perf_counter() - started)
    return times


def took(what: str, step: Callable[[], T]) -> T:
    started = time.perf_counter()
    result = step()
    print(f"  {what}: {1000 * (time.perf_counter() - started):.0f} ms", flush=True)
    return result


def show(what: str, times: Sequence[float]) -> None:
    median, high = np.percentile(times, [50, 95]) * 1000
    print(f"  {what}: median {median:.0f} ms, 95 % {high:.0f} ms", flush=True)


if __name__ == "__main__":
    main()
