"""Collect: annotations that are new or changed since the last snapshot become rows of new shards.

Nothing is counted as done here: the cursor is part of `data/snapshot.json`, which the caller commits together
with the shards. A collect that is not committed is simply done again.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from maskloop.errors import ImageError, MaskError
from maskloop.images import decode_image
from maskloop.masks import encode_coco
from maskloop.regions import Region, regions
from pipelines.errors import LabelStudioError
from pipelines.files import write_atomically
from pipelines.labelstudio import Task
from pipelines.shards import Row, read_rows, write_shards
from pipelines.snapshot import Snapshot

logger = logging.getLogger(__name__)

IMAGES = Path("data/images")
_PROVENANCE = ("meta", "score", "origin")


class Project(Protocol):
    """What collecting needs of Label Studio; `pipelines.labelstudio.LabelStudioProject` is the real one."""

    @property
    def project(self) -> int: ...
    @property
    def prompt_controls(self) -> frozenset[str]: ...
    def newest_update(self) -> str: ...
    def changed_tasks(self, cursor: str) -> Iterator[Task]: ...
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
    """

    snapshot: Snapshot
    masks: int
    dropped: tuple[str, ...]


@dataclass
class _Batch:
    """What has been gathered so far."""

    rows: list[Row] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    retry: set[int] = field(default_factory=set)

    def drop(self, reason: str) -> None:
        logger.warning("left out: %s", reason)
        self.dropped.append(reason)


def collect(project: Project, root: Path, snapshot: Snapshot) -> Collected:
    """Bring what changed since `snapshot` into new shards and images under `root`.

    Raises:
        LabelStudioError: Label Studio does not answer. A single annotation or image that is no good is no
            error: it is left out and named.
    """
    newest = project.newest_update()  # read first: what changes from here on is newer, and comes next time
    seen = _seen(root, snapshot)
    batch = _Batch(retry=set(snapshot.retry))
    tasks = {task.id: task for task in project.changed_tasks(snapshot.cursor)}
    for task_id in sorted(set(snapshot.retry) - set(tasks)):
        tasks |= {task_id: task} if (task := project.task(task_id)) else {}
    batch.retry &= set(tasks)
    for task in tasks.values():
        _collect_task(project, root, task, seen.get(task.id, {}), batch)
    return _finish(root, snapshot, newest, batch)


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


def _seen(root: Path, snapshot: Snapshot) -> dict[int, dict[int, tuple[str, bool]]]:
    """Per task and annotation: the last version collected, and whether it had masks."""
    seen: dict[int, dict[int, tuple[str, bool]]] = {}
    columns = ("task_id", "annotation_id", "updated_at", "rle")
    for row in read_rows(root, snapshot, columns).to_pylist():
        annotations = seen.setdefault(row["task_id"], {})
        version = (row["updated_at"], bool(row["rle"]))
        annotations[row["annotation_id"]] = max(version, annotations.get(row["annotation_id"], version))
    return seen


def _collect_task(
    project: Project, root: Path, task: Task, seen: dict[int, tuple[str, bool]], batch: _Batch
) -> None:
    annotations = {int(annotation["id"]): annotation for annotation in task.annotations}
    for annotation_id, (_, has_masks) in seen.items():
        if has_masks and annotation_id not in annotations:
            batch.rows.append(_retraction(project.project, task.id, annotation_id, task.updated_at))
    fresh = [
        annotation
        for key, annotation in annotations.items()
        if _version(annotation) > seen.get(key, ("",))[0]
    ]
    if not fresh:
        batch.retry.discard(task.id)
        return
    try:
        image = store_image(root, project.image(task.image))
    except (ImageError, LabelStudioError) as error:
        batch.retry.add(task.id)
        batch.drop(f"task {task.id}, to be tried again: {error}")
        return
    batch.retry.discard(task.id)
    for annotation in fresh:
        rows = _annotation_rows(project, task.id, annotation, image, batch)
        if not rows and seen.get(int(annotation["id"]), ("", False))[1]:
            rows = [_retraction(project.project, task.id, int(annotation["id"]), _version(annotation))]
        batch.rows.extend(rows)


def _annotation_rows(
    project: Project, task_id: int, annotation: dict[str, Any], image: StoredImage, batch: _Batch
) -> list[Row]:
    """The masks of one annotation; whatever is wrong with it costs no more than itself."""
    place = f"task {task_id}, annotation {annotation['id']}"
    if annotation.get("was_cancelled"):
        batch.drop(f"{place}: cancelled")
        return []
    rows = []
    try:
        for region in regions(annotation.get("result") or [], project.prompt_controls):
            try:
                rows.append(_row(project.project, task_id, annotation, region, image))
            except MaskError as error:
                batch.drop(f"{place}: {error}")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        batch.drop(f"{place}: not as Label Studio writes it ({error!r})")
        return []
    return rows


def _row(
    project_id: int, task_id: int, annotation: dict[str, Any], region: Region, image: StoredImage
) -> Row:
    if (region.height, region.width) != (image.height, image.width):
        raise MaskError(
            f"Region {region.id!r} is for {region.width} x {region.height} pixels, "
            f"its image has {image.width} x {image.height}: draw it again."
        )
    mask = region.mask()
    if not mask.any():
        raise MaskError(f"Region {region.id!r} is empty: delete or redraw it.")
    return Row(
        project_id=project_id,
        task_id=task_id,
        annotation_id=int(annotation["id"]),
        region_id=region.id,
        updated_at=_version(annotation),
        annotator=_annotator(annotation),
        label=region.label,
        height=image.height,
        width=image.width,
        rle=str(encode_coco(mask)["counts"]),
        image_sha256=image.sha256,
        meta=json.dumps(
            {key: region.result[key] for key in _PROVENANCE if key in region.result}, sort_keys=True
        ),
    )


def _retraction(project_id: int, task_id: int, annotation_id: int, updated_at: str) -> Row:
    return Row(project_id, task_id, annotation_id, "", updated_at, 0, "", 0, 0, "", "", "{}")


def _version(annotation: dict[str, Any]) -> str:
    return str(annotation.get("updated_at", ""))


def _annotator(annotation: dict[str, Any]) -> int:
    """Label Studio writes the person as a number, in some exports as a record."""
    person = annotation.get("completed_by") or 0
    return int(person["id"] if isinstance(person, dict) else person)


def _finish(root: Path, snapshot: Snapshot, newest: str, batch: _Batch) -> Collected:
    masks = sum(1 for row in batch.rows if row.rle)
    version = snapshot.version + 1 if batch.rows else snapshot.version
    following = replace(snapshot, version=version)
    shards = write_shards(root, following.name, batch.rows)
    following = replace(
        following,
        cursor=newest or snapshot.cursor,
        masks=snapshot.masks + masks,
        shards=snapshot.shards + shards,
        retry=tuple(sorted(batch.retry)),
    )
    return Collected(following, masks, tuple(batch.dropped))
