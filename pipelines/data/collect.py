"""Collect: annotations that are new or changed since the last snapshot become rows of new shards.

Nothing is counted as done here: the cursor is part of `data/snapshot.json`, which the caller commits together
with the shards. A collect that is not committed is simply done again.
"""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from maskloop.clicks import Click
from maskloop.errors import ImageError, MaskError
from maskloop.images import decode_image
from maskloop.masks import encode_coco
from maskloop.regions import Region, regions
from maskloop.runs import Runs
from pipelines.data.known import Known, KnownAnnotations
from pipelines.data.provenance import Provenance
from pipelines.data.shards import FOLDER, Row, write_shards
from pipelines.data.snapshot import Snapshot
from pipelines.data.stored import IMAGES
from pipelines.data.tables import remove_leftovers
from pipelines.errors import LabelStudioError
from pipelines.files import write_atomically
from pipelines.label_studio.project import Survey, Task, format_time, parse_time

logger = logging.getLogger(__name__)

_PROVENANCE = ("meta", "score", "origin")

ClicksOf = Callable[[int, str, Runs], Sequence[Click]]
"""The clicks that led to a region, by its task, its id and its mask; `pipelines.clicks.Trails.clicks`."""


class Project(Protocol):
    """What collecting needs of Label Studio; `pipelines.label_studio.project` has the real one."""

    @property
    def project(self) -> int: ...
    @property
    def prompt_controls(self) -> frozenset[str]: ...
    def survey(self, number: int) -> Survey: ...
    def changed_tasks(self, cursor: str) -> Iterator[Task]: ...
    def listed_tasks(self) -> Iterator[tuple[int, int]]: ...
    def task(self, task_id: int) -> Task | None: ...
    def image(self, reference: str) -> bytes: ...


@dataclass(frozen=True)
class StoredImage:
    """An image under `data/images`, by the digest of its bytes; size after EXIF orientation."""

    sha256: str
    height: int
    width: int


@dataclass(frozen=True)
class Collected:
    """What one collect found.

    snapshot: the state to commit; equal in version to the old one when nothing was found.
    masks: rows with a mask among the new ones.
    dropped: reason and place of everything that was left out.
    unseen: tasks that have changed and do not show it by their time.
    """

    snapshot: Snapshot
    masks: int
    dropped: tuple[str, ...]
    unseen: tuple[int, ...] = ()


def collect(project: Project, root: Path, snapshot: Snapshot, clicks: ClicksOf = lambda *_: ()) -> Collected:
    """Bring what changed since `snapshot` into new shards and images under `root`.

    Args:
        project: what is collected from.
        root: a checkout with the data of `snapshot`.
        snapshot: what was collected before.
        clicks: where the clicks of a mask are looked up; by default none are known.

    Raises:
        LabelStudioError: Label Studio does not answer. A single annotation or image that is no good is no
            error: it is left out and named.
        SnapshotError: a shard is missing or damaged.
    """
    remove_leftovers(root, FOLDER, snapshot.shards)
    survey = project.survey(snapshot.newest_task)  # read first: what changes from here on comes next time
    round_ = _Round(project, root, snapshot, KnownAnnotations(root, snapshot, project.project), clicks)
    following = replace(snapshot, version=snapshot.version + 1)
    try:
        shards = write_shards(root, following.name, round_.rows(survey))
    except BaseException:
        remove_leftovers(root, FOLDER, snapshot.shards)
        raise
    following = replace(
        following if shards else snapshot,
        cursor=survey.newest or snapshot.cursor,
        masks=snapshot.masks + round_.masks,
        shards=snapshot.shards + shards,
        retry=tuple(sorted(round_.retry)),
        project=project.project,
        newest_task=survey.newest_task,
        tasks=survey.tasks,
        annotations=survey.annotations,
    )
    return Collected(following, round_.masks, tuple(round_.dropped), tuple(round_.unseen))


def store_image(root: Path, data: bytes) -> StoredImage:
    """Keep the bytes of an image once, under the digest of its content.

    Raises:
        ImageError: the bytes are no readable image.
    """
    height, width = decode_image(data).shape[:2]
    digest = sha256(data).hexdigest()
    with Image.open(BytesIO(data)) as image:
        suffix = str(image.format).lower()
    path = root / IMAGES / f"{digest}.{suffix}"
    if not path.exists():
        write_atomically(path, data)
    return StoredImage(digest, height, width)


@dataclass
class _Round:
    """One collect on its way: the rows it finds, and what it leaves out."""

    project: Project
    root: Path
    before: Snapshot
    known: KnownAnnotations
    clicks: ClicksOf
    masks: int = 0
    dropped: list[str] = field(default_factory=list)
    retry: set[int] = field(default_factory=set)
    unseen: list[int] = field(default_factory=list)
    gained: int = 0

    def rows(self, survey: Survey) -> Iterator[Row]:
        """The new rows, task by task."""
        same_project = self.before.project in (0, self.project.project)
        done = set()
        for task in self.project.changed_tasks(self.before.cursor if same_project else ""):
            done.add(task.id)
            self.gained += self._gain(task)
            yield from self._task_rows(task)
        deleted, late = self._unnoticed(survey)
        for task_id in sorted({*self.before.retry, *late} - done):
            if (again := self.project.task(task_id)) is not None:
                found = list(self._task_rows(again))
                self.unseen += [task_id] if found and task_id not in self.before.retry else []
                yield from found
        for task_id in deleted:
            for annotation_id, known in self.known.of(task_id).items():
                if known.kept:
                    yield self._retraction(task_id, annotation_id, survey.newest, known)

    def _gain(self, task: Task) -> int:
        """How many more annotations a changed task has than when the snapshot was made."""
        counted = {int(one["id"]) for one in task.annotations if not one.get("was_cancelled")}
        lost = sum(one.kept and number not in counted for number, one in self.known.of(task.id).items())
        return task.added(self.before.cursor) - lost

    def _unnoticed(self, survey: Survey) -> tuple[list[int], list[int]]:
        """Tasks that were deleted, and tasks whose time is too early to be among the changed ones.

        Too early is what an import wrote that ended long after it began, and what was saved while Label
        Studio's clock was behind. All this changes the number of tasks up to the newest of last time, or how
        many annotations there are; only then is it worth the while to list the tasks.
        """
        if self._adds_up(survey):
            return [], []
        listed = dict(self.project.listed_tasks())
        late = (task for task, annotations in listed.items() if annotations != self.known.kept(task))
        return sorted(self.known.tasks - set(listed)), sorted(late)

    def _adds_up(self, survey: Survey) -> bool:
        """Whether what the changed tasks gained is all that is new; a false alarm costs a list of tasks."""
        before = self.before
        if before.annotations is not None and survey.annotations != before.annotations + self.gained:
            return False
        counted = before.newest_task or not before.shards
        return bool(counted) and survey.earlier == before.tasks

    def _task_rows(self, task: Task) -> Iterator[Row]:
        known = self.known.of(task.id)
        annotations = {int(annotation["id"]): annotation for annotation in task.annotations}
        for annotation_id, annotation in known.items():
            if annotation.kept and annotation_id not in annotations:
                yield self._retraction(task.id, annotation_id, task.updated_at, annotation)
        found = {
            number: self._regions(task, annotation)
            for number, annotation in annotations.items()
            if _is_new(annotation, known.get(number))
        }
        image = None
        if any(found.values()):
            try:
                image = store_image(self.root, self.project.image(task.image))
            except (ImageError, LabelStudioError) as error:
                self.retry.add(task.id)
                self._drop(f"task {task.id}, to be tried again: {error}")
                return
        for number, drawn in found.items():
            rows = list(self._annotation_rows(task, annotations[number], drawn, image)) if image else []
            self.masks += len(rows)
            yield from rows
            if not rows and number in known and known[number].kept:
                yield self._retraction(task.id, number, _version(annotations[number]), known[number])

    def _regions(self, task: Task, annotation: dict[str, Any]) -> list[Region]:
        """What was drawn; whatever is wrong with an annotation costs no more than itself."""
        place = f"task {task.id}, annotation {annotation['id']}"
        if annotation.get("was_cancelled"):
            self._drop(f"{place}: cancelled")
            return []
        try:
            return list(regions(annotation.get("result") or [], self.project.prompt_controls))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            self._drop(f"{place}: not as Label Studio writes it ({error!r})")
            return []

    def _annotation_rows(
        self, task: Task, annotation: dict[str, Any], drawn: list[Region], image: StoredImage
    ) -> Iterator[Row]:
        for region in drawn:
            try:
                yield self._row(task, annotation, region, image)
            except MaskError as error:
                self._drop(f"task {task.id}, annotation {annotation['id']}: {error}")

    def _row(self, task: Task, annotation: dict[str, Any], region: Region, image: StoredImage) -> Row:
        if (region.height, region.width) != (image.height, image.width):
            raise MaskError(
                f"Region {region.id!r} is for {region.width} x {region.height} pixels, "
                f"its image has {image.width} x {image.height}: draw it again."
            )
        runs = region.runs()
        if not runs.area:
            raise MaskError(f"Region {region.id!r} is empty: delete or redraw it.")
        provenance = Provenance.of(region.result)
        meta = {key: region.result[key] for key in _PROVENANCE if key in region.result}
        clicks = self.clicks(task.id, region.id, runs)
        return Row(
            project_id=self.project.project,
            task_id=task.id,
            annotation_id=int(annotation["id"]),
            region_id=region.id,
            updated_at=_version(annotation),
            annotator=_annotator(annotation),
            label=region.label,
            height=image.height,
            width=image.width,
            rle=str(encode_coco(runs.mask())["counts"]),
            image_sha256=image.sha256,
            meta=json.dumps(meta, sort_keys=True),
            ground_truth=_is_ground_truth(annotation),
            model=provenance.model,
            prompts=provenance.prompts,
            changed=provenance.changed(runs),
            clicks=json.dumps([[click.row, click.col, int(click.positive)] for click in clicks]),
        )

    def _retraction(self, task_id: int, annotation_id: int, noticed: str, known: Known) -> Row:
        """The note that an annotation has no masks any more. It is newer than they are by any clock."""
        after = format_time(parse_time(known.updated_at) + timedelta(microseconds=1))
        updated_at = max(noticed, after)
        return Row(self.project.project, task_id, annotation_id, "", updated_at, 0, "", 0, 0, "", "", "{}")

    def _drop(self, reason: str) -> None:
        logger.warning("left out: %s", reason)
        self.dropped.append(reason)


def _is_new(annotation: dict[str, Any], known: Known | None) -> bool:
    """Whether it has changed. Label Studio takes the mark of ground truth away without a new time."""
    if known is None or _version(annotation) > known.updated_at:
        return True
    return known.kept and _is_ground_truth(annotation) != known.ground_truth


def _is_ground_truth(annotation: dict[str, Any]) -> bool:
    return annotation.get("ground_truth") is True


def _version(annotation: dict[str, Any]) -> str:
    return str(annotation.get("updated_at", ""))


def _annotator(annotation: dict[str, Any]) -> int:
    """Label Studio writes the person as a number, in some exports as a record."""
    person = annotation.get("completed_by") or 0
    return int(person["id"] if isinstance(person, dict) else person)
