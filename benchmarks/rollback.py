"""Promote and roll back while people click: a real MLflow, a real backend, the commands as people type them.

Every answer is checked: that it is one, that its model is one of the two, and that its mask is, pixel by
pixel, what the same checkpoint answers offline for this image and these clicks. Images are small and the
networks untrained, since the swap is what is tried.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import torch

from benchmarks.backend import question, running_backend, serve_files
from benchmarks.soak import photo, session
from maskloop.checkpoint import save_checkpoint
from maskloop.clicks import Click
from maskloop.images import decode_image
from maskloop.masks import decode_brush
from maskloop.model import CSFPN, ModelConfig
from maskloop.predictor import Predictor
from pipelines.promotion.registry import Registry
from pipelines.promotion.tracking import log_checkpoint, start_run
from pipelines.promotion.version import Version
from pipelines.stack import catalog
from pipelines.stack.config import REPOSITORY, Ports, StackConfig
from pipelines.stack.services import Services

SWITCH_SECONDS = 180.0


@dataclass(frozen=True)
class Scene:
    """An image as the backend fetches it, its pixels, and the clicks that are made on it."""

    task: int
    address: str
    image: np.ndarray
    clicks: Sequence[Click]


@dataclass(frozen=True)
class Answer:
    """`at`: seconds, when it came. `version` is empty for an empty mask, which names none."""

    at: float
    version: str
    milliseconds: float


@dataclass
class Clients:
    """People who click until they are stopped.

    predictors: by the version that answers carry.
    tolerance: share of the pixels that may differ, as they do when threads add up in another order.
    """

    url: str
    scenes: Sequence[Scene]
    predictors: Mapping[str, Predictor]
    tolerance: float = 0.0
    answers: list[Answer] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _expected: dict[tuple[str, int], list[np.ndarray]] = field(default_factory=dict)

    @contextmanager
    def clicking(self, number: int) -> Iterator[None]:
        """`number` of them click while the block runs."""
        with ThreadPoolExecutor(number) as pool:
            work = [pool.submit(self._click, seed) for seed in range(number)]
            try:
                yield
            finally:
                self._stop.set()
            for one in work:
                one.result()

    def await_version(self, version: str) -> float:
        """Seconds until the first answer of a version from now on."""
        start = time.monotonic()
        seen = len(self.answers)
        while time.monotonic() - start < SWITCH_SECONDS:
            for answer in self.answers[seen:]:
                if answer.version == version:
                    return answer.at - start
            time.sleep(0.02)
        raise SystemExit(f"no answer of {version} within {SWITCH_SECONDS:.0f} s")

    def _click(self, seed: int) -> None:
        draw = np.random.default_rng(seed)
        with httpx.Client(base_url=self.url, timeout=60, trust_env=False) as client:
            while not self._stop.is_set():
                scene = self.scenes[int(draw.integers(len(self.scenes)))]
                for count in range(1, len(scene.clicks) + 1):
                    height, width = scene.image.shape[:2]
                    body = question(scene.task, scene.address, scene.clicks[:count], height, width)
                    start = time.monotonic()
                    try:
                        reply = client.post("/predict", content=body)
                    except httpx.HTTPError as error:
                        self.failures.append(repr(error))
                        continue
                    self._check(reply, scene, count, time.monotonic() - start)

    def _check(self, reply: httpx.Response, scene: Scene, count: int, seconds: float) -> None:
        if reply.status_code != 200:
            self.failures.append(f"HTTP {reply.status_code}: {reply.text[:200]}")
            return
        (found,) = reply.json()["results"]
        version, mask = "", np.zeros(scene.image.shape[:2], bool)
        if found:
            version = found["model_version"]
            mask = decode_brush(found["result"][0]["value"]["rle"], *mask.shape)
        self.answers.append(Answer(time.monotonic(), version, 1000 * seconds))
        candidates = [version] if version else list(self.predictors)
        if version and version not in self.predictors:
            self.failures.append(f"answered by {version}")
        elif not any(
            (mask != self._masks(one, scene)[count - 1]).mean() <= self.tolerance for one in candidates
        ):
            self.failures.append(f"task {scene.task}, click {count}, {version or 'empty'}: another mask")

    def _masks(self, version: str, scene: Scene) -> list[np.ndarray]:
        """What a version answers offline to each click of a scene."""
        with self._lock:
            if (version, scene.task) not in self._expected:
                previous, masks = None, []
                for count in range(1, len(scene.clicks) + 1):
                    previous = self.predictors[version].predict(scene.image, scene.clicks[:count], previous)
                    masks.append(previous.mask)
                self._expected[version, scene.task] = masks
            return self._expected[version, scene.task]


def register(registry: Registry, folder: Path, seed: int) -> Version:
    """A version of a small network that has learnt nothing."""
    torch.manual_seed(seed)
    model = CSFPN(ModelConfig(channels=12, hires_channels=8, long_side=96))
    digest = save_checkpoint(model, folder, f"rollback-{seed}", {})
    tags = {"sha256": digest, "reason": "benchmark"}
    run_id = start_run(registry.client, folder.name, tags)
    return registry.register(run_id, log_checkpoint(registry.client, run_id, folder), tags)


def maskloop(url: str, *arguments: str) -> float:
    """Run the command; returns how many seconds it took."""
    start = time.monotonic()
    command = [sys.executable, "-m", "pipelines.cli", *arguments]
    environment = os.environ | {"MLFLOW_TRACKING_URI": url}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    print(f"maskloop {' '.join(arguments)}: {done.stdout.strip().splitlines()[-1]}", flush=True)
    return time.monotonic() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5, help="each a promotion and a rollback")
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--poll", default="5", help="MASKLOOP_POLL_SECONDS of the backend")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with serve_files() as files, tempfile.TemporaryDirectory() as place, Services() as services:
        folder = Path(place)
        files.content |= {f"/{number}.png": photo(number) for number in range(arguments.images)}
        config = StackConfig(folder / "stack", ports=Ports.free())
        settings = {"mlflow_url": config.mlflow_url, "poll_seconds": arguments.poll, "threads": "1"}
        # both take a while; the backend serves its default until the registry answers
        starting = ThreadPoolExecutor(1).submit(services.start, catalog.mlflow(config))
        with running_backend(files, folder / "log", **settings) as backend:
            starting.result()
            registry = Registry(config.mlflow_url)
            versions = [register(registry, folder / str(seed), seed) for seed in (1, 2)]
            registry.promote(versions[0], None, "benchmark")
            predictors = {
                version.served_as: Predictor.load(folder / str(seed))
                for seed, version in enumerate(versions, 1)
            }
            await_served(backend.url, versions[0].served_as)
            scenes = [
                Scene(n, f"/{n}.png", decode_image(files.content[f"/{n}.png"]), session(n))
                for n in range(arguments.images)
            ]
            clients = Clients(backend.url, scenes, predictors)
            with clients.clicking(arguments.clients):
                swaps = list(swap(clients, config.mlflow_url, versions, arguments.rounds))
                time.sleep(2)
    report(clients, swaps)
    if clients.failures:
        raise SystemExit(1)


def await_served(url: str, version: str) -> None:
    deadline = time.monotonic() + SWITCH_SECONDS
    while httpx.get(f"{url}/health", timeout=60, trust_env=False).json()["model_version"] != version:
        if time.monotonic() > deadline:
            raise SystemExit(f"the backend does not serve {version} within {SWITCH_SECONDS:.0f} s")
        time.sleep(0.2)


@dataclass(frozen=True)
class Swap:
    """Seconds that the command took, and from its end to the first answer of the other version."""

    command: str
    took: float
    until: float


def swap(clients: Clients, url: str, versions: Sequence[Version], rounds: int) -> Iterator[Swap]:
    for _ in range(rounds):
        took = maskloop(url, "promote", "2", "--force", "--because", "benchmark")
        yield Swap("promote", took, clients.await_version(versions[1].served_as))
        took = maskloop(url, "rollback", "--because", "benchmark")
        yield Swap("rollback", took, clients.await_version(versions[0].served_as))


def report(clients: Clients, swaps: Sequence[Swap]) -> None:
    seconds = clients.answers[-1].at - clients.answers[0].at
    print(f"{len(clients.answers)} clicks answered in {seconds:.0f} s, {len(clients.failures)} failed")
    counts = {name: sum(one.version == name for one in clients.answers) for name in (*clients.predictors, "")}
    print("answers by version:", {name or "empty mask": count for name, count in counts.items()})
    times = [one.milliseconds for one in clients.answers]
    print("milliseconds of a click, p50, p99, most:", np.round([*np.percentile(times, (50, 99)), max(times)]))
    for command in ("promote", "rollback"):
        until = [one.until for one in swaps if one.command == command]
        took = [one.took for one in swaps if one.command == command]
        print(
            f"{command}: command {min(took):.1f} to {max(took):.1f} s; first answer of the other version "
            f"{min(until):.1f} to {max(until):.1f} s after it, {np.mean(until):.1f} on average"
        )
    print(*clients.failures[:5], sep="\n")


if __name__ == "__main__":
    main()
