"""What collecting costs, and how that grows: seconds, processor seconds and memory of each step.

    python -m benchmarks.collecting label-studio --masks 5000 --tasks 1000
    python -m benchmarks.collecting process --masks 50000 --tasks 10000
    python -m benchmarks.collecting shards --masks 50000 --tasks 10000

`label-studio` starts one of its own with SQLite, uploads photos and imports annotations over its interface;
`process` has the same project in the memory of the process, where an import would take too long. Each step
runs in a process of its own, in a repository with git and DVC that is made for it, as in a retrain. The last
steps collect what came to be after the first snapshot: 50 masks in 10 annotations. `shards` measures what
there is to do with the rows alone: writing and reading them, in files of a thousand and of fifty.
"""

import argparse
import io
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
from PIL import Image

from maskloop.arrays import Mask
from maskloop.regions import region_value
from maskloop.runs import Runs
from maskloop.sketches import Sketch
from pipelines.data.collect import Project, collect
from pipelines.data.known import KnownAnnotations
from pipelines.data.shards import Row, newest_masks, read_rows, write_shards
from pipelines.data.snapshot import Snapshot, parse_snapshot, read_snapshot, write_snapshot
from pipelines.label_studio.project import LabelStudioProject, Survey, Task
from pipelines.stack.catalog import label_studio
from pipelines.stack.config import Ports, StackConfig
from pipelines.stack.services import Services
from pipelines.versioning import SNAPSHOT_BRANCH, Worktree, branch_commit, open_worktree

HEIGHT, WIDTH = 240, 320
SHAPES = 200
"""Different masks, which are used again and again: making them is not what is measured."""
NEW_TASKS = 10
AT_ONCE = 100
CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="brush" toName="image" smart="false"><Label value="Cell"/></BrushLabels></View>"""
BROUGHT = (".dvc/config", ".dvc/.gitignore", ".dvcignore", "data/snapshot.json", "data/.gitignore")
STEPS = ("collect", "commit", "read", "idle", "again", "commit again")


@dataclass(frozen=True)
class Cost:
    """Of one step. `cpu` is of the step's process and those it started, `megabytes` its own peak,
    `grown` what that is above the process as it was before."""

    step: str
    seconds: float
    cpu: float
    megabytes: float
    grown: float
    said: str


@cache
def mask(number: int) -> Mask:
    """A ragged blob of 16 to 100 pixels across."""
    generator = np.random.default_rng(number)
    drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
    size = generator.integers(8, 50, 2)
    centre = generator.integers((50, 50), (WIDTH - 50, HEIGHT - 50))
    cv2.ellipse(drawn, centre.tolist(), size.tolist(), float(generator.integers(180)), 0, 360, 1, -1)
    drawn &= cv2.dilate((generator.random((HEIGHT, WIDTH)) < 0.2).astype(np.uint8), np.ones((3, 3)))
    return cv2.morphologyEx(drawn, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)).astype(bool)


@cache
def region(number: int) -> dict[str, Any]:
    """A region as the service suggests it."""
    runs = Runs.of(mask(number))
    meta = {"model": "maskloop-v2", "sha256": "d1" * 32, "prompts": 2, "milliseconds": 80, "refined": False}
    return {
        "type": "brushlabels",
        "from_name": "brush",
        "to_name": "image",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "score": 0.9,
        "meta": meta | {"sketch": str(Sketch.of(runs))},
        "value": region_value(runs, "brush") | {"brushlabels": ["Cell"]},
    }


def results(first: int, count: int) -> list[dict[str, Any]]:
    return [region(number % SHAPES) | {"id": f"region-{number}"} for number in range(first, first + count)]


def photo(number: int) -> bytes:
    """A photo of some kilobytes, unlike all others."""
    small = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


class ProcessProject:
    """A project in the memory of this process: `masks` in `tasks`, and later some more in the first ones."""

    project = 1
    prompt_controls = frozenset[str]()

    def __init__(self, masks: int, tasks: int, later: bool) -> None:
        self.masks, self.tasks, self.later = masks, tasks, later

    def survey(self, number: int) -> Survey:
        newest = self._time(NEW_TASKS, 1) if self.later else self._time(self.tasks)
        annotations = self.tasks + NEW_TASKS * self.later
        return Survey(newest, self.tasks, self.tasks, min(number, self.tasks), annotations)

    def changed_tasks(self, cursor: str) -> Iterator[Task]:
        for number in range(1, self.tasks + 1):
            found = self.task(number)
            if found.updated_at > cursor:
                yield found

    def listed_tasks(self) -> Iterator[tuple[int, int]]:
        for number in range(1, self.tasks + 1):
            yield number, 2 if self.later and number <= NEW_TASKS else 1

    def task(self, task_id: int) -> Task:
        each = self.masks // self.tasks
        annotations = [self._annotation(task_id, 0, results(task_id * each, each))]
        updated_at = self._time(task_id)
        if self.later and task_id <= NEW_TASKS:
            annotations.append(self._annotation(task_id, 1, results(task_id, 5)))
            updated_at = self._time(task_id, 1)
        return Task(task_id, updated_at, f"photo {task_id}", tuple(annotations))

    def image(self, reference: str) -> bytes:
        return photo(int(reference.split()[1]))

    def _annotation(self, task: int, later: int, result: list[dict[str, Any]]) -> dict[str, Any]:
        number = task + later * self.tasks
        time = self._time(task, later)
        return {"id": number, "result": result, "created_at": time, "updated_at": time, "completed_by": 1}

    @staticmethod
    def _time(second: int, day: int = 0) -> str:
        return f"2026-11-{20 + day}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.000000Z"


class Server:
    """A project of a real Label Studio, filled over its interface."""

    def __init__(self, url: str, token: str) -> None:
        self.url, self.token, self.project = url, token, 0
        self._client = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Token {self.token}"},
            timeout=600,
            trust_env=False,
        )

    def fill(self, masks: int, tasks: int) -> None:
        self.project = self._post("/api/projects", json={"title": "cost", "label_config": CONFIG})["id"]
        path, each = f"/api/projects/{self.project}/import", masks // tasks
        for start in range(0, tasks, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, tasks))
            # of several files of one field Label Studio takes the last
            files = [(f"file{number}", (f"{number}.jpg", photo(number), "image/jpeg")) for number in numbers]
            self._post(f"{path}?commit_to_project=false", files=files)
        stored = self._client.get(f"/api/projects/{self.project}/file-uploads?all=true").json()
        photos = [f"/data/{one['file']}" for one in stored][:tasks]
        for start in range(0, tasks, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, tasks))
            self._post(path, json=[_imported(photos[number], number * each, each) for number in numbers])

    def label(self) -> None:
        """The 50 masks that come later, as the editor submits them."""
        query = {"project": self.project, "page_size": NEW_TASKS}
        for task in self._client.get("/api/tasks", params=query).json()["tasks"]:
            self._post(f"/api/tasks/{task['id']}/annotations", json={"result": results(task["id"], 5)})

    def _post(self, path: str, **request: Any) -> Any:
        answer = self._client.post(path, **request)
        answer.raise_for_status()
        return answer.json()


def _imported(photo: str, first: int, count: int) -> dict[str, Any]:
    return {"data": {"image": photo}, "annotations": [{"result": results(first, count), "completed_by": 1}]}


def make_repository(root: Path) -> None:
    here = Path(__file__).parents[1]
    for name in BROUGHT:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(here / name, root / name)
    write_snapshot(root, Snapshot())
    (root / ".gitignore").write_text(".maskloop/\n")
    identity = ("-c", "user.name=maskloop", "-c", "user.email=maskloop@localhost")
    for command in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "-m", "Begin")):
        subprocess.run(["git", *identity, *command], cwd=root, check=True)


def run_step(step: str, arguments: argparse.Namespace) -> Cost:
    """Do one step in this process."""
    folder = arguments.folder
    work = {
        "collect": lambda: _collect(folder, _project(arguments, later=False)),
        "idle": lambda: _collect(folder, _project(arguments, later=False), keep=False),
        "again": lambda: _collect(folder, _project(arguments, later=True)),
        "commit": lambda: _commit(folder, arguments.root),
        "commit again": lambda: _commit(folder, arguments.root),
        "read": lambda: _read(folder),
    }[step]
    if step != "read":  # what only imports is no part of the step
        _project(arguments, later=False).survey(0)
    before, cpu, memory = time.perf_counter(), _cpu(), _megabytes()
    said = work()
    seconds = time.perf_counter() - before
    return Cost(step, seconds, _cpu() - cpu, _megabytes(), _megabytes() - memory, said)


def _megabytes() -> float:
    """The most that this process has ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _project(arguments: argparse.Namespace, later: bool) -> Project:
    if arguments.kind == "process":
        return ProcessProject(arguments.masks, arguments.tasks, later)
    return LabelStudioProject(arguments.url, arguments.token, arguments.project)


def _collect(folder: Path, project: Project, keep: bool = True) -> str:
    collected = collect(project, folder, read_snapshot(folder))
    if keep:
        (folder / "next.json").write_text(json.dumps(asdict(collected.snapshot)))
    return f"{collected.masks} masks, {len(collected.dropped)} left out"


def _commit(folder: Path, root: Path) -> str:
    snapshot = parse_snapshot((folder / "next.json").read_text())
    newest = branch_commit(root, SNAPSHOT_BRANCH)
    commit = Worktree(root, folder, "", lambda line: None, newest).commit_snapshot(snapshot)
    return f"commit {commit[:8]}"


def _read(folder: Path) -> str:
    return f"{len(newest_masks(read_rows(folder, read_snapshot(folder)).to_pandas()))} masks"


def measure(arguments: argparse.Namespace, root: Path, between: Callable[[], None]) -> list[Cost]:
    """Run every step in a process of its own."""
    make_repository(root)
    costs = []
    with open_worktree(root, "cost", lambda line: None) as worktree:
        for step in arguments.steps.split(","):
            if step == "again":
                between()
            command = [sys.executable, "-m", "benchmarks.collecting", arguments.kind, "--step", step]
            for name in ("masks", "tasks", "url", "token", "project"):
                command += [f"--{name}", str(getattr(arguments, name))]
            command += ["--folder", str(worktree.path), "--root", str(root)]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            costs.append(Cost(**json.loads(output.splitlines()[-1])))
            print(_line(costs[-1]), flush=True)
    return costs


def measure_shards(root: Path, masks: int, tasks: int) -> None:
    """Write made-up rows and read them, in this process."""
    each = masks // tasks
    rows = [_row(number, number // each) for number in range(masks)]
    for size in (1000, 50):
        parts = (rows[start : start + size] for start in range(0, masks, size))
        before = _cpu()
        shards = [
            shard for name, part in enumerate(parts) for shard in write_shards(root, f"{size}-{name}", part)
        ]
        print(f"| write, {len(shards)} files of {size} rows | {_cpu() - before:.2f} | |")
        snapshot = Snapshot(shards=tuple(shards))
        for step, work in (("what is known, of ten tasks", _know), ("newest masks", _newest)):
            before, memory = _cpu(), _megabytes()
            work(root, snapshot)
            print(f"| {step} | {_cpu() - before:.2f} | {_megabytes() - memory:.0f} |", flush=True)


def _know(root: Path, snapshot: Snapshot) -> None:
    known = KnownAnnotations(root, snapshot, project=1)
    for task in range(10):
        known.of(task)


def _newest(root: Path, snapshot: Snapshot) -> None:
    newest_masks(read_rows(root, snapshot).to_pandas())


def _row(number: int, task: int) -> Row:
    noise = np.random.default_rng(number).bytes(150).hex()  # about as long as real ones
    meta = json.dumps({"meta": {"model": "maskloop-v2", "sketch": noise[:140]}})
    time = "2026-11-22T07:00:00.000000Z"
    return Row(1, task, task, f"region-{number}", time, 1, "Cell", HEIGHT, WIDTH, noise, noise[:64], meta)


def _line(cost: Cost) -> str:
    numbers = f"{cost.seconds:.1f} | {cost.cpu:.1f} | {cost.megabytes:.0f} | {cost.grown:.0f}"
    return f"| {cost.step} | {numbers} | {cost.said} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("kind", choices=("label-studio", "process", "shards"))
    parser.add_argument("--masks", type=int, default=5000)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--steps", default=",".join(STEPS), help="some of them: no commit, no new masks")
    parser.add_argument("--url", default="", help="a Label Studio that runs, instead of one of its own")
    parser.add_argument("--token", default="", help="its legacy token")
    parser.add_argument("--step", default="", help=argparse.SUPPRESS)
    parser.add_argument("--project", type=int, default=0, help=argparse.SUPPRESS)
    for name in ("folder", "root"):
        parser.add_argument(f"--{name}", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(asdict(run_step(arguments.step, arguments))))
        return
    with tempfile.TemporaryDirectory(prefix="collecting-") as temporary:
        if arguments.kind == "shards":
            print("| step | processor s | MB grown |\n| --- | --- | --- |")
            measure_shards(Path(temporary), arguments.masks, arguments.tasks)
            return
        print("| step | s | processor s | MB | of it grown | |\n| --- | --- | --- | --- | --- | --- |")
        if arguments.kind == "process":
            measure(arguments, Path(temporary) / "repository", lambda: None)
            return
        with Services(lambda line: None) as services:
            if not arguments.url:
                config = StackConfig(Path(temporary) / "stack", ports=Ports.free())
                services.start(label_studio(config))
                arguments.url, arguments.token = config.label_studio_url, config.secrets.token
            server = Server(arguments.url, arguments.token)
            before = time.perf_counter()
            server.fill(arguments.masks, arguments.tasks)
            print(f"| (import) | {time.perf_counter() - before:.1f} | | | | |", flush=True)
            arguments.project = server.project
            measure(arguments, Path(temporary) / "repository", server.label)


if __name__ == "__main__":
    main()
