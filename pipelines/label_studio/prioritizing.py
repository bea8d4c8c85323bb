"""Prioritizing: the unlabelled tasks of a project in the order in which they are worth a person's time.

The order is stored as predictions with scores, the lowest for the task to label first, since that is what
Label Studio's queue and its sorted views go by. Scores count for one model version alone, the one whose masks
labelers are shown; so each of these predictions takes along the masks that the task had before, and nobody
misses them.

A ranking has a version of its own, named after what it was made of. It is put in force once it is complete,
and the ones before it are deleted then: a run that was cut off leaves the last ranking in force, and the next
one goes on where it stopped.
"""

import json
import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import numpy as np

from maskloop.datasets import open_dataset
from maskloop.selection import (
    GAIN,
    RANDOM,
    Calibration,
    Describer,
    Labelled,
    Measurable,
    Profile,
    Ranked,
    check_strategy,
    fit,
    measure,
    rank_profiles,
    shuffled,
)
from maskloop.selection.store import ProfileStore
from pipelines.data.shards import newest_masks, read_rows
from pipelines.data.snapshot import read_snapshot
from pipelines.label_studio.client import UNLABELLED, LabelStudio
from pipelines.label_studio.connection import RANKING
from pipelines.label_studio.interface import read_interface
from pipelines.label_studio.looking import Looking
from pipelines.label_studio.preannotation import ImageSource, Model
from pipelines.stack.errors import RefusedError

VIEW = "by expected clicks"
CHUNK = 50
"""Tasks that are asked for, and whose predictions are stored, in one request."""
MOST_LABELLED = 2000
"""Labelled tasks, the newest ones, that others are compared with."""

LISTED = 20
"""Tasks that a report names."""

Say = Callable[[str], None]
Task = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How tasks are ranked.

    strategy: one of `maskloop.selection.STRATEGIES`.
    budget: clicks that may be spent; tasks beyond it get no score and come last. None: all get one.
    masks: objects that an image has, on average, which a budget has to pay for.
    limit: unlabelled tasks that are looked at, at most; which ones depends on the seed alone.
    labels: the label of labelled tasks by their numbers, if labels are to be balanced.
    calibration: what turns profiles into clicks; None: that of the default checkpoint.
    """

    strategy: str = GAIN
    budget: float | None = None
    masks: float = 1.0
    limit: int | None = None
    labels: Mapping[int, str] = field(default_factory=dict)
    calibration: Calibration | None = None
    seed: int = 0
    chunk: int = CHUNK

    def __post_init__(self) -> None:
        check_strategy(self.strategy)


@dataclass
class Outcome:
    """What a run did.

    version: of the ranking that is in force; empty if there was nothing to rank.
    order: numbers of the ranked tasks, the first to label first.
    clicks: expected for a mask of each; NaN where nobody asked.
    looked: images that had to be looked at, as no profile of theirs was kept.
    written: scores that this run stored.
    failed: what went wrong with single tasks.
    """

    version: str = ""
    order: tuple[int, ...] = ()
    clicks: tuple[float, ...] = ()
    looked: int = 0
    written: int = 0
    failed: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        done = (
            f"{self.looked} images looked at, {self.written} scores written, {len(self.failed)} tasks failed"
        )
        if not self.order:
            return f"no task to rank; {done}"
        return f"{len(self.order)} tasks ranked as {self.version}, task {self.order[0]} first; {done}"


def prioritize(
    client: LabelStudio,
    images: ImageSource,
    project: int,
    model: Model,
    store: ProfileStore,
    plan: Plan,
    say: Say,
) -> Outcome:
    """Rank the unlabelled tasks of a project, and make Label Studio follow the order.

    Args:
        client: of the Label Studio.
        images: where the bytes of its images come from.
        project: its number.
        model: what will answer the clicks; a `Describer`.
        store: profiles by this model that are kept.
        plan: how to rank.
        say: is told how far it is.

    Raises:
        StackError: Label Studio does not answer. What is wrong with one task costs only that one.
    """
    about = client.project_numbered(project)
    key = read_interface(about["label_config"] or "").image_key
    looking = Looking(images, cast(Describer, model.segmenter), store, key, client.url)
    tasks, ranked = _rank(client, project, looking, plan, say)
    outcome = Outcome(
        order=tuple(tasks[one.index]["id"] for one in ranked),
        clicks=tuple(one.expected_clicks for one in ranked),
        looked=looking.looked,
        failed=looking.failed,
    )
    if ranked:
        sources = {
            name: count for name, count in client.prediction_counts(project).items() if not _ours(name)
        }
        outcome.version = _version(outcome.order, model.version, plan.strategy, sources)
        _write(client, about, outcome, plan.chunk)
        _put_in_force(client, project, outcome.version)
    for failure in outcome.failed:
        say(f"left out: {failure}")
    say(str(outcome))
    return outcome


def calibration(model: Model, file: Path | None, labelled: Path | None, say: Say) -> Calibration | None:
    """The calibration to rank by: read from a file, fitted to labelled images, or None: the default.

    Args:
        model: what will answer the clicks.
        file: of a calibration; with labelled images it is written instead.
        labelled: Parquet of images with objects that the model was not trained on, such as the prepared test
            images; a simulated annotator labels them.
        say: is told what the fit is worth.
    """
    if labelled is None:
        return None if file is None else Calibration.read(file)
    samples = open_dataset("parquet", labelled)
    measured = list(measure(cast(Measurable, model.segmenter), samples))
    fitted = fit([one.profile for one in measured], [one.clicks for one in measured], model.version)
    say(f"calibrated by {fitted.images} images, of {fitted.clicks:.1f} clicks a mask on average")
    if file is not None:
        fitted.write(file)
    return fitted


def collected_labels(root: Path, project: int) -> dict[int, str]:
    """The most frequent label of each task whose masks were collected into the repository at `root`."""
    snapshot = read_snapshot(root)
    if not snapshot.shards:
        return {}
    rows = newest_masks(read_rows(root, snapshot).to_pandas())
    rows = rows[rows["project_id"] == project]
    labels: dict[int, Counter[str]] = defaultdict(Counter)
    for task, label in zip(rows["task_id"], rows["label"], strict=True):
        labels[int(task)][str(label)] += 1
    return {task: counts.most_common(1)[0][0] for task, counts in labels.items()}


def markdown(outcome: Outcome, url: str, project: int) -> str:
    """What a run did, for people: the first tasks of the order, and what failed."""
    rows = zip(outcome.order[:LISTED], outcome.clicks[:LISTED], strict=True)
    return "\n".join(
        [
            f"{outcome}.",
            f"The tab *{VIEW}* shows the order, and *Label Tasks As Displayed* follows it.",
            "",
            "| place | task | clicks expected for a mask |",
            "| ---: | --- | ---: |",
            *(
                f"| {place} | [{task}]({url}/projects/{project}/data?task={task}) | {_number(clicks)} |"
                for place, (task, clicks) in enumerate(rows, start=1)
            ),
            "",
            *(f"- left out: {failure}" for failure in outcome.failed),
        ]
    )


def _number(clicks: float) -> str:
    return "" if math.isnan(clicks) else f"{clicks:.1f}"


def _rank(
    client: LabelStudio, project: int, looking: "Looking", plan: Plan, say: Say
) -> tuple[list[Task], list[Ranked]]:
    """The tasks that could be looked at, and their order."""
    tasks = _drawn([task for page in client.unlabelled(project) for task in page], plan)
    if plan.strategy == RANDOM and plan.budget is None:
        return tasks, shuffled(len(tasks), plan.seed)
    profiles: list[Profile] = []
    seen: list[Task] = []
    for number, task in enumerate(tasks, start=1):
        if (found := looking.profile(task)) is not None:
            profiles.append(found)
            seen.append(task)
        if number % plan.chunk == 0 or number == len(tasks):
            say(f"{number} of {len(tasks)} tasks looked at, {looking.looked} of them anew")
    labelled = _labelled(client, project, looking, plan) if plan.strategy == GAIN else None
    ranked = rank_profiles(
        profiles,
        strategy=plan.strategy,
        budget=None if plan.budget is None else plan.budget / plan.masks,
        labelled=labelled,
        calibration=plan.calibration,
        seed=plan.seed,
    )
    return seen, ranked


def _drawn(tasks: list[Task], plan: Plan) -> list[Task]:
    """At most `limit` tasks, in the order of their numbers."""
    if plan.limit is None or len(tasks) <= plan.limit:
        return tasks
    # by a number of its own for each task: most of the same ones are drawn when tasks come or go
    draws = {task["id"]: random.Random(f"{plan.seed} {task['id']}").random() for task in tasks}  # noqa: S311
    kept = sorted(tasks, key=lambda task: draws[task["id"]])[: plan.limit]
    return sorted(kept, key=lambda task: int(task["id"]))


def _labelled(client: LabelStudio, project: int, looking: "Looking", plan: Plan) -> Labelled:
    """What the newest labelled tasks look like, and their labels where these are known."""
    tasks = [task for page in client.labelled(project) for task in page]
    newest = sorted(tasks, key=lambda task: str(task["updated_at"]))[-MOST_LABELLED:]
    found = [(task["id"], one.descriptor) for task in newest if (one := looking.profile(task, clicks=False))]
    if not found:
        return Labelled(np.zeros((0, 0), np.float32))
    labels = tuple(plan.labels.get(number, "") for number, _ in found)
    return Labelled(np.stack([descriptor for _, descriptor in found]), labels)


def _ours(version: str) -> bool:
    return version.startswith(RANKING)


def _version(order: Sequence[int], model: str, strategy: str, sources: Mapping[str, int]) -> str:
    """The same for the same ranking beside the same masks, so that doing it again changes nothing."""
    made_of = json.dumps([order, model, strategy, sources], sort_keys=True)
    return RANKING + sha256(made_of.encode()).hexdigest()[:8]


def _write(client: LabelStudio, about: Mapping[str, Any], outcome: Outcome, chunk: int) -> None:
    """Store the scores that are not stored yet; what was labelled meanwhile is left alone."""
    scores = {task: place / len(outcome.order) for place, task in enumerate(outcome.order, start=1)}
    for tasks in client.unlabelled(about["id"], chunk, whole=True):
        predictions = [
            {
                "task": task["id"],
                "model_version": outcome.version,
                "score": round(scores[task["id"]], 6),
                "result": _shown(task, about),
            }
            for task in tasks
            if task["id"] in scores and not _has_prediction(task, outcome.version)
        ]
        outcome.written += _store(client, about["id"], predictions, outcome)


def _shown(task: Task, about: Mapping[str, Any]) -> list[Any]:
    """The masks that labelers would be shown of a task if there were no ranking."""
    if not about["show_collab_predictions"]:
        return []
    others = [one for one in task.get("predictions") or () if not _ours(str(one["model_version"]))]
    chosen = [one for one in others if one["model_version"] == about["model_version"]]
    newest = max(chosen or others, key=lambda one: int(one["id"]), default=None)
    return [] if newest is None else list(newest["result"])


def _has_prediction(task: Task, version: str) -> bool:
    return any(one["model_version"] == version for one in task.get("predictions") or ())


def _store(client: LabelStudio, project: int, predictions: list[dict[str, Any]], outcome: Outcome) -> int:
    """Store a chunk; if Label Studio refuses it, its tasks one by one, so that one alone is lost."""
    if not predictions:
        return 0
    try:
        return client.add_predictions(project, predictions)
    except RefusedError as error:
        if len(predictions) == 1:
            outcome.failed.append(f"task {predictions[0]['task']}: {error}")
            return 0
        return sum(_store(client, project, [prediction], outcome) for prediction in predictions)


def _put_in_force(client: LabelStudio, project: int, version: str) -> None:
    """Let Label Studio go by these scores, in a view of their order; then delete those of before."""
    counts = client.prediction_counts(project)
    if version not in counts:
        return
    client.update_project(project, model_version=version)
    _ensure_view(client, project)
    for name in counts:
        if _ours(name) and name != version:
            client.delete_predictions(project, name)


def _ensure_view(client: LabelStudio, project: int) -> None:
    """A tab of the data manager with the unlabelled tasks in their order; people may change all but that."""
    wanted = {"ordering": ["tasks:predictions_score"], "filters": UNLABELLED}
    present = next((one for one in client.views(project) if one["data"].get("title") == VIEW), None)
    if present is None:
        client.create_view(project, {"title": VIEW, **wanted})
    elif any(present["data"].get(name) != value for name, value in wanted.items()):
        client.update_view(present["id"], project, present["data"] | wanted)
