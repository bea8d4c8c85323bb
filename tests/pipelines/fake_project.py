"""A Label Studio project in memory: what collecting needs, without a server."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipelines.errors import LabelStudioError
from pipelines.label_studio.project import Survey, Task

WIRE = Path(__file__).parent / "wire"


class FakeProject:
    """Tasks as Label Studio 1.23 exported them. `tasks` may be edited as a person would edit them."""

    project = 12
    prompt_controls = frozenset({"include"})

    def __init__(self) -> None:
        self.tasks: list[dict[str, Any]] = json.loads((WIRE / "export.json").read_text())
        for task in self.tasks:
            for annotation in task["annotations"]:
                annotation["created_at"] = annotation["updated_at"]
        self.images = {task["data"]["image"]: png(seed) for seed, task in enumerate(self.tasks)}
        self.asked: list[int] = []
        self.listed = 0

    def survey(self, number: int) -> Survey:
        numbers = [task["id"] for task in self.tasks]
        return Survey(
            newest=max((task["updated_at"] for task in self.tasks), default=""),
            newest_task=max(numbers, default=0),
            tasks=len(numbers),
            earlier=sum(other <= number for other in numbers),
            annotations=sum(map(_annotations, self.tasks)),
        )

    def listed_tasks(self) -> Iterator[tuple[int, int]]:
        self.listed += 1
        for task in self.tasks:
            yield task["id"], _annotations(task)

    def changed_tasks(self, cursor: str) -> Iterator[Task]:
        for task in self.tasks:
            if task["updated_at"] >= cursor:  # one overlaps, as with the real one
                self.asked.append(task["id"])
                yield self._task(task)

    def task(self, task_id: int) -> Task | None:
        return next((self._task(task) for task in self.tasks if task["id"] == task_id), None)

    def image(self, reference: str) -> bytes:
        if reference not in self.images:
            raise LabelStudioError(f"Image {reference!r}: Label Studio answered 404.")
        return self.images[reference]

    def _task(self, task: dict[str, Any]) -> Task:
        task = copy.deepcopy(task)
        return Task(task["id"], task["updated_at"], task["data"]["image"], tuple(task["annotations"]))


def _annotations(task: dict[str, Any]) -> int:
    return sum(not annotation.get("was_cancelled") for annotation in task["annotations"])


def png(seed: int, height: int = 48, width: int = 64) -> bytes:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.imencode(".png", image)[1].tobytes()
