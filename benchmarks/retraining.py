"""How long a retrain takes from new masks to the decision, step by step.

    python -m benchmarks.retraining --masks 50

The steps of the flow on a clone of this repository, with a registry in a file; the masks are the rendered
threads of `benchmarks.domains`, as people would have drawn them. What Prefect's and Label Studio's servers
add is not among it.
"""

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.domains import THREADS, Picture, open_domain
from maskloop.masks import encode_brush
from pipelines import quality, retraining
from pipelines.data import split
from pipelines.data.collect import collect
from pipelines.data.snapshot import read_snapshot
from pipelines.label_studio.project import Survey, Task
from pipelines.promotion.registry import Registry
from pipelines.stack.config import REPOSITORY
from pipelines.stages.params import read_params
from pipelines.versioning import open_worktree

TIME = "2026-01-01T00:00:00.000000Z"
SPLIT = ("test_percent", "rendered", "base", "base_images")


class LabelledPictures:
    """A project in memory in which every picture is labelled."""

    project = 1
    prompt_controls = frozenset[str]()

    def __init__(self, pictures: list[Picture]) -> None:
        self._pictures = pictures

    def survey(self, number: int) -> Survey:
        count = len(self._pictures)
        return Survey(TIME, count, count, min(number, count), count)

    def changed_tasks(self, cursor: str) -> Iterator[Task]:
        yield from (self.task(number) for number in range(1, len(self._pictures) + 1))

    def listed_tasks(self) -> Iterator[tuple[int, int]]:
        yield from ((number, 1) for number in range(1, len(self._pictures) + 1))

    def task(self, task_id: int) -> Task:
        masks = self._pictures[task_id - 1].masks
        regions = [_painted(f"{task_id}-{number}", mask) for number, mask in enumerate(masks)]
        times = {"created_at": TIME, "updated_at": TIME}
        annotation = {"id": task_id, "result": regions, **times, "completed_by": 1}
        return Task(task_id, TIME, str(task_id), (annotation,))

    def image(self, reference: str) -> bytes:
        return self._pictures[int(reference) - 1].data


def _painted(region: str, mask: Any) -> dict[str, Any]:
    height, width = mask.shape
    size = {"original_width": width, "original_height": height, "image_rotation": 0}
    value = {"format": "rle", "rle": encode_brush(mask), "brushlabels": ["Thread"]}
    return (
        {"id": region, "type": "brushlabels", "from_name": "brush", "to_name": "image"}
        | size
        | {"value": value}
    )


def labelled(masks: int) -> LabelledPictures:
    """So many pictures as hold `masks` masks, or one more."""
    chosen: list[Picture] = []
    for picture in open_domain(THREADS, objects=3).pictures:
        if sum(len(one.masks) for one in chosen) >= masks:
            break
        chosen.append(picture)
    return LabelledPictures(chosen)


def timed(name: str, step: Callable[[], Any]) -> Any:
    start = time.monotonic()
    result = step()
    print(f"{name:16}{time.monotonic() - start:8.1f} s", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--masks", type=int, default=50)
    project = labelled(parser.parse_args().masks)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "repository"
        subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(root)], check=True)
        registry = Registry(f"sqlite:///{folder}/mlflow.db")
        timed("in all", lambda: retrain(root, registry, project))


def retrain(root: Path, registry: Registry, project: LabelledPictures) -> None:
    with open_worktree(root, "timed", _stages) as worktree:
        collected = timed("collect", lambda: collect(project, worktree.path, read_snapshot(worktree.path)))
        params = read_params(worktree.path, "prepare")
        snapshot = timed(
            "split",
            lambda: split.assign(worktree.path, collected.snapshot, *(params[name] for name in SPLIT)),
        )
        champion = quality.champion(registry, worktree.path)
        reviewed = timed("review", lambda: quality.review_new(worktree.path, snapshot, champion))
        timed("snapshot", lambda: worktree.commit_snapshot(reviewed.snapshot))
        served = timed("champion", lambda: retraining.place_champion(worktree, registry))
        timed("dvc repro, push", lambda: retraining.reproduce(worktree, "benchmark"))
        challenger = timed("register", lambda: retraining.register(worktree, registry, "benchmark"))
        decision = timed(
            "judge",
            lambda: retraining.judge(worktree, registry, challenger, served, "benchmark", lambda *_: None),
        )
        print(decision.reason)


_began: list[tuple[str, float]] = []


def _stages(line: str) -> None:
    """Tell when DVC begins a stage, so that the parts of `dvc repro` can be told apart."""
    if line.startswith("Running stage") or "is cached" in line:
        now = time.monotonic()
        if _began:
            print(f"  {_began[-1][0]:14}{now - _began[-1][1]:8.1f} s", flush=True)
        _began.append((line.split("'")[1], now))


if __name__ == "__main__":
    main()
