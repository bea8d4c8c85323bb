"""Pre-annotation: masks for a whole project, stored as predictions before anybody clicks.

It never goes through Label Studio's own retrieval of predictions, which asks for all tasks in one request
of at most 100 seconds. Tasks that hold a prediction of this model version are left alone, so that a run which
was cut off goes on where it stopped.
"""

import secrets
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from maskloop.arrays import Image, Mask
from maskloop.errors import MaskError, MaskloopError
from maskloop.evaluation import BatchSegmenter, prepared
from maskloop.images import decode_image
from maskloop.predictor import Predictor, Request
from maskloop.proposals import ProposalConfig, propose
from maskloop.regions import Region, region_value, regions
from pipelines.errors import InterfaceError, RegistryError
from pipelines.label_studio.client import LabelStudio
from pipelines.label_studio.interface import SHAPES, Interface, read_interface
from pipelines.stack.errors import RefusedError

if TYPE_CHECKING:
    from pipelines.promotion.registry import Registry
    from pipelines.promotion.version import Version

AUTO, BOXES = "auto", "boxes"
CHUNK = 20
"""Tasks whose predictions go to Label Studio in one request."""
MOST = 2**31
"""No task has a number so large: Label Studio's are 32 bits."""

Say = Callable[[str], None]
Task = dict[str, Any]


class ImageSource(Protocol):
    """Where the bytes of an image come from; `pipelines.label_studio.project.LabelStudioProject` is one."""

    def image(self, reference: str) -> bytes: ...


@dataclass(frozen=True)
class Model:
    """What predicts: its version as Label Studio shall show it, and the digest of its weights."""

    segmenter: BatchSegmenter
    version: str
    sha256: str


@dataclass(frozen=True)
class Plan:
    """What is to be made.

    source: `auto` finds objects by itself, `boxes` makes a mask of each rectangle that a task holds.
    label: of what is found by itself; None: the only one of the project.
    """

    source: str = AUTO
    label: str | None = None
    proposals: ProposalConfig = field(default_factory=ProposalConfig)
    chunk: int = CHUNK


@dataclass(frozen=True)
class Found:
    """A mask with its label and how good it seems, 0..1."""

    mask: Mask
    label: str
    score: float


@dataclass
class Outcome:
    """What a run did: tasks that got a prediction, that had one, and what went wrong with the others."""

    predicted: int = 0
    present: int = 0
    masks: int = 0
    failed: list[str] = field(default_factory=list)

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    def __str__(self) -> str:
        return (
            f"{self.masks} masks for {self.predicted} tasks; {self.present} tasks had a prediction of this "
            f"version, {len(self.failed)} failed"
        )


def plan(source: str = AUTO, label: str | None = None, limit: int = ProposalConfig.limit) -> Plan:
    """A plan from what a person chooses; `limit` is how many masks an image gets, at most."""
    return Plan(source, label, ProposalConfig(limit=limit))


def champion(registry: "Registry", folder: Path) -> Model:
    """The champion of the registry, fetched into `folder`.

    Raises:
        RegistryError: there is none, or MLflow does not answer.
    """
    return fetch(registry, champion_version(registry), folder)


def open_model(checkpoint: Path, mlflow: str, folder: Path) -> Model:
    """The model of a checkpoint, or the champion of the registry at `mlflow` if one is named."""
    if mlflow:
        from pipelines.promotion.registry import Registry

        return champion(Registry(mlflow), folder)
    predictor = Predictor.load(checkpoint)
    return Model(predictor, predictor.version, predictor.sha256)


def champion_version(registry: "Registry") -> "Version":
    """The version that serves.

    Raises:
        RegistryError: there is none, or MLflow does not answer.
    """
    from pipelines.promotion.registry import CHAMPION

    version = registry.holder(CHAMPION)
    if version is None:
        raise RegistryError(
            f"Model {registry.model!r} has no champion: start the stack, which registers one."
        )
    return version


def fetch(registry: "Registry", version: "Version", folder: Path) -> Model:
    """A version of the registry, fetched into `folder`."""
    predictor = Predictor.load(registry.download(version, folder))
    return Model(predictor, version.served_as, predictor.sha256)


def preannotate(
    client: LabelStudio, images: ImageSource, project: int, model: Model, plan: Plan, say: Say
) -> Outcome:
    """Predict for every task of a project that has no prediction of this version yet, and show them.

    Raises:
        InterfaceError: the project's configuration takes no masks, or the label is not one of its own.
        StackError: Label Studio does not answer. What is wrong with one task is told and costs only that one.
    """
    outcome = predict_tasks(client, images, project, model, plan, say)
    finish(client, project, model.version, outcome)
    return outcome


def predict_tasks(
    client: LabelStudio,
    images: ImageSource,
    project: int,
    model: Model,
    plan: Plan,
    say: Say,
    numbers: range | None = None,
) -> Outcome:
    """Predict for the tasks whose numbers are in `numbers`, or for all; raises as `preannotate` does.

    Doing it again is free: a task that holds a prediction of this version is left alone.
    """
    about = client.project_numbered(project)
    worker = _Worker(images, model, plan, _check(read_interface(about["label_config"] or ""), plan))
    total = f" of {about['task_number']}" if numbers is None else ""
    outcome, seen = Outcome(), 0
    for tasks in client.tasks_by_id(project, plan.chunk, numbers):
        todo = [task for task in tasks if not _of_version(task, model.version)]
        outcome.present += len(tasks) - len(todo)
        _store(client, project, list(worker.predictions(todo, outcome)), outcome)
        seen += len(tasks)
        say(f"{seen}{total} tasks: {outcome}")
    for failure in outcome.failed:
        say(f"left out: {failure}")
    return outcome


def task_shards(client: LabelStudio, project: int, count: int) -> list[range]:
    """At most `count` ranges of task numbers, which hold about the same number of the project's tasks.

    The last one is open: a task that is made meanwhile belongs to it.
    """
    total = int(client.project_numbered(project)["task_number"])
    places = sorted({total * number // count for number in range(1, count)} - {0})
    starts = [0, *(client.task_at(project, place) for place in places)]
    return [range(start, end) for start, end in pairwise([*starts, MOST])]


def finish(client: LabelStudio, project: int, version: str, outcome: Outcome) -> None:
    """Show the predictions of a version: Label Studio has scores, and shows masks to labelers, of one alone.

    `outcome` is that of all shards. Where more predictions are stored than tasks have one, a process that
    was believed dead has gone on beside the one that took over: the later ones are deleted.
    """
    stored = client.prediction_counts(project).get(version, 0)
    if stored > outcome.predicted + outcome.present:
        for tasks in client.tasks_by_id(project, CHUNK):
            for task in tasks:
                for double in sorted(one["id"] for one in _of_version(task, version))[1:]:
                    client.delete_prediction(double)
    if stored:
        client.update_project(project, model_version=version, show_collab_predictions=True)


@dataclass(frozen=True)
class _Worker:
    """Makes the predictions of single tasks."""

    images: ImageSource
    model: Model
    plan: Plan
    interface: Interface

    def predictions(self, tasks: Sequence[Task], outcome: Outcome) -> Iterator[dict[str, Any]]:
        for task in tasks:
            try:
                yield self._prediction(task)
            except MaskloopError as error:
                outcome.failed.append(f"task {task['id']}: {error}")

    def _prediction(self, task: Task) -> dict[str, Any]:
        data = self.images.image(str(task["data"].get(self.interface.image_key, "")))
        image = decode_image(data)
        found = _from_boxes(self.model, image, task) if self.plan.source == BOXES else self._propose(image)
        if unknown := {one.label for one in found} - set(self.interface.labels):
            raise MaskError(
                f"its boxes have labels that the project has not: {', '.join(sorted(map(repr, unknown)))}; "
                "add them with `maskloop connect --labels`"
            )
        digest = sha256(data).hexdigest()
        return {
            "task": task["id"],
            "model_version": self.model.version,
            "score": round(statistics.fmean(one.score for one in found), 4) if found else 0.0,
            "result": [self._result(one, digest) for one in found],
        }

    def _propose(self, image: Image) -> list[Found]:
        label = self.plan.label or self.interface.labels[0]
        proposals = propose(self.model.segmenter, image, self.plan.proposals)
        return [Found(one.mask, label, one.score) for one in proposals]

    def _result(self, found: Found, image_sha256: str) -> dict[str, Any]:
        """A mask as Label Studio keeps it."""
        height, width = found.mask.shape
        shape = self.interface.shape or "brush"
        kind = f"{shape}labels"
        return {
            "id": secrets.token_hex(8),
            "type": kind,
            "from_name": self.interface.outputs[0].name,
            "to_name": self.interface.image,
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "score": round(found.score, 4),
            "meta": {
                "model": self.model.version,
                "sha256": self.model.sha256,
                "image_sha256": image_sha256,
                "source": f"preannotation from {self.plan.source}",
                "score": round(found.score, 4),
            },
            "value": region_value(found.mask, shape) | {kind: [found.label]},
        }


def _check(interface: Interface, plan: Plan) -> Interface:
    """The interface, if the plan can be carried out with it."""
    if not interface.outputs:
        raise InterfaceError(
            f"The project takes no masks ({', '.join(SHAPES.values())}): `maskloop connect` mends it."
        )
    labels = interface.labels
    if plan.source not in {AUTO, BOXES}:
        raise InterfaceError(f"Masks cannot be made from {plan.source!r}: choose {AUTO} or {BOXES}.")
    if plan.source == AUTO and plan.label is None and len(labels) != 1:
        raise InterfaceError(f"The project has the labels {', '.join(labels)}: choose one with --label.")
    if plan.label is not None and plan.label not in labels:
        raise InterfaceError(f"The project has no label {plan.label!r}: it has {', '.join(labels)}.")
    return interface


def _of_version(task: Task, version: str) -> list[dict[str, Any]]:
    """The task's predictions by a version."""
    return [one for one in task.get("predictions") or () if one["model_version"] == version]


def _store(client: LabelStudio, project: int, predictions: list[dict[str, Any]], outcome: Outcome) -> None:
    """Store a chunk; if Label Studio refuses it, its tasks one by one, so that one alone is lost."""
    if not predictions:
        return
    try:
        client.add_predictions(project, predictions)
    except RefusedError as error:
        if len(predictions) == 1:
            outcome.failed.append(f"task {predictions[0]['task']}: {error}")
            return
        for prediction in predictions:
            _store(client, project, [prediction], outcome)
        return
    outcome.predicted += len(predictions)
    outcome.masks += sum(len(one["result"]) for one in predictions)


def _from_boxes(model: Model, image: Image, task: Task) -> list[Found]:
    """One mask for each rectangle that a person or a detector stored; the empty ones are left out."""
    boxes = list(dict.fromkeys(_boxes(task, *image.shape[:2])))
    shown = prepared(model.segmenter, image) if boxes else image
    predictions = model.segmenter.predict_batch([Request(shown, [], box=box) for _, box in boxes])
    drawn = [(label, *one.drawn()) for (label, _), one in zip(boxes, predictions, strict=True)]
    return [Found(mask, label, score) for label, mask, score in drawn if mask.any()]


def _boxes(task: Task, height: int, width: int) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    """Label and (top, left, bottom, right) of each rectangle in a task's annotations and predictions."""
    drawn = [one for one in task.get("annotations") or () if not one.get("was_cancelled")]
    for holder in [*drawn, *(task.get("predictions") or ())]:
        for region in regions(holder.get("result") or []):
            if region.geometry == "rectangle":
                yield region.label, _box(region, height, width)


def _box(region: Region, height: int, width: int) -> tuple[int, int, int, int]:
    if (region.height, region.width) != (height, width):
        raise MaskError(
            f"rectangle {region.id!r} is for {region.width} x {region.height} pixels, the image has "
            f"{width} x {height}: draw it again."
        )
    mask = region.mask()
    if not mask.any():
        raise MaskError(f"rectangle {region.id!r} covers no pixel: delete or redraw it.")
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1
