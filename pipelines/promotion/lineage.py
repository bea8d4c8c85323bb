"""Lineage: masks, snapshot, commit, checkpoint, run, alias and decision of a version, and its ancestors."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.data.shards import read_rows
from pipelines.data.snapshot import PATH as SNAPSHOT
from pipelines.data.snapshot import parse_snapshot, read_snapshot
from pipelines.errors import SnapshotError
from pipelines.promotion.changes import Standing
from pipelines.promotion.registry import Registry
from pipelines.promotion.version import Version
from pipelines.versioning import branches_of, check_commit, file_at, open_commit

LOCK = Path("dvc.lock")
ANNOTATIONS = "data/annotations"
TRAINING_SET = "data/prepared/train.parquet"
LABELLED = "labelled"
"""Source of the images that people labelled, in the training set."""
MASK = ["project_id", "task_id", "annotation_id", "region_id", "annotator", "updated_at", "label"]
"""What names a mask in Label Studio."""
SHOWN = 20
"""Masks that are listed on the screen."""


@dataclass(frozen=True)
class Ancestor:
    """A version of the line; `parent` is what it was fine-tuned from, if anything."""

    version: Version
    aliases: tuple[str, ...]
    parent: int | None

    @property
    def decision(self) -> str:
        return self.version.tags.get("decision", "")


@dataclass(frozen=True)
class Lineage:
    """Where a version comes from.

    ancestors: the version itself, then what it was fine-tuned from, to the first checkpoint.
    branches: of git, that hold the commit.
    collected: masks of the snapshot, also those of test images, set aside, or replaced by later ones.
    learnt: masks of people in the training set.
    masks: the same by name, with the columns `MASK`; None of a version that no retrain made.
    """

    ancestors: tuple[Ancestor, ...]
    mlflow: str
    changes: tuple[str, ...] = ()
    branches: tuple[str, ...] = ()
    collected: int = 0
    learnt: int = 0
    masks: pd.DataFrame | None = None

    @property
    def version(self) -> Version:
        return self.ancestors[0].version


def trace(registry: Registry, root: Path, number: int) -> Lineage:
    """Follow a version back to the masks that trained it and the checkpoints before it.

    Args:
        registry: knows the versions.
        root: the repository that retrained, or a clone of it with its data.
        number: of the version.

    Raises:
        RegistryError: there is no such version.
        SnapshotError: its commit, or the data of that commit, is missing.
    """
    versions = {version.number: version for version in registry.versions()}
    standing = registry.standing()
    version = versions.get(number) or registry.version(number)
    ancestors = tuple(_ancestors(registry, version, list(versions.values()), standing))
    changes = tuple(str(change) for change in standing.changes if number in (change.before, change.after))
    commit = version.tags.get("git_sha", "")
    if not commit:  # registered by hand, as the first checkpoint is
        return Lineage(ancestors, registry.url, changes)
    check_commit(root, commit)
    _check_lock(root, commit, version)
    masks, learnt = trained_on(root, commit)
    branches = tuple(branches_of(root, commit))
    collected = parse_snapshot(file_at(root, commit, SNAPSHOT)).masks
    return Lineage(ancestors, registry.url, changes, branches, collected, learnt, masks)


def trained_on(root: Path, commit: str) -> tuple[pd.DataFrame, int]:
    """The masks of people in the training set of a commit, with the columns `MASK`, and their number.

    The set itself is read, as the stage `prepare` wrote it then, and each mask of it is found among those
    collected: the same run lengths on the same image. Where two annotations hold the same, the newer counts.
    """
    with open_commit(root, commit, [ANNOTATIONS], [TRAINING_SET]) as checkout:
        rows = read_rows(checkout, read_snapshot(checkout), [*MASK, "image_sha256", "rle"]).to_pandas()
        prepared = pd.read_parquet(checkout / TRAINING_SET, columns=["image_id", "source", "objects"])
    objects = prepared[prepared["source"] == LABELLED].explode("objects").dropna(subset=["objects"])
    chosen = {(name, one["rle"]) for name, one in zip(objects["image_id"], objects["objects"], strict=True)}
    images = "image-" + rows["image_sha256"].str[:12]
    trained = rows[[key in chosen for key in zip(images, rows["rle"], strict=True)]]
    trained = trained.sort_values(["updated_at", "annotation_id"], kind="stable")
    newest = trained.groupby(["image_sha256", "rle"])["annotation_id"].transform("last")
    trained = trained[trained["annotation_id"] == newest].drop_duplicates(MASK[:4], keep="last")
    return trained[MASK].sort_values(MASK[:4]).reset_index(drop=True), len(objects)


def _ancestors(
    registry: Registry, version: Version, versions: list[Version], standing: Standing
) -> Iterator[Ancestor]:
    """A checkpoint says in its own description what it started from, by digest."""
    known = {one.tags.get("sha256"): one for one in versions}
    link: Version | None = version
    while link is not None:
        start = registry.description(link).get("training", {}).get("start")
        parent = known.get(start) if start else None
        aliases = [alias for alias, number in standing.aliases.items() if number == link.number]
        yield Ancestor(link, tuple(sorted(aliases)), parent.number if parent else None)
        link = parent if parent and parent.number < link.number else None


def _check_lock(root: Path, commit: str, version: Version) -> None:
    """A version's commit must hold the dvc.lock that it was registered with."""
    found = hashlib.md5(file_at(root, commit, LOCK).encode(), usedforsecurity=False).hexdigest()
    if found != version.tags.get("dvc_lock_md5", found):
        raise SnapshotError(
            f"Commit {commit} holds another {LOCK} than version {version.number} was registered with: "
            "the version's tags were edited; correct git_sha in MLflow."
        )


def to_json(lineage: Lineage) -> dict[str, Any]:
    """Everything, as plain values."""
    version = lineage.version
    masks = lineage.masks
    return {
        "version": version.number,
        "aliases": list(lineage.ancestors[0].aliases),
        "decision": lineage.ancestors[0].decision,
        "changes": list(lineage.changes),
        "mlflow": lineage.mlflow,
        "run": version.run_id,
        "checkpoint": {"source": version.source, "sha256": version.tags.get("sha256", "")},
        "commit": version.tags.get("git_sha", ""),
        "branches": list(lineage.branches),
        "snapshot": {"name": version.tags.get("snapshot", ""), "masks": lineage.collected},
        "ancestors": [
            {"version": one.version.number, "fine_tuned_from": one.parent, **_figures(one.version)}
            for one in lineage.ancestors
        ],
        "masks": [] if masks is None else masks.to_dict("records"),
    }


def _figures(version: Version) -> dict[str, str]:
    names = ("sha256", "git_sha", "snapshot", "noc85", "noc90", "decision")
    return {name: version.tags[name] for name in names if name in version.tags}


def to_text(lineage: Lineage) -> Iterator[str]:
    """Lines for the screen, from the alias back to the masks."""
    first, tags = lineage.ancestors[0], lineage.version.tags
    yield f"version {lineage.version.number}: {', '.join(first.aliases) or 'holds no alias'}"
    rows = [
        ("decision", first.decision or "none: not judged by a retrain"),
        *(("change", change) for change in lineage.changes),
        ("run", f"{lineage.version.run_id} of {lineage.mlflow}"),
        ("checkpoint", f"{lineage.version.source}, sha256 {tags.get('sha256', 'unknown')}"),
        ("commit", _commit(lineage)),
        ("snapshot", f"{tags['snapshot']}: {lineage.collected} masks" if "snapshot" in tags else "none"),
        ("masks", _masks(lineage)),
    ]
    for name, text in rows:
        yield f"  {name:<11} {text}"
    yield from _table(lineage.masks)
    yield "descends from"
    for one in lineage.ancestors:
        yield f"  {_link(one)}"


def _commit(lineage: Lineage) -> str:
    commit = lineage.version.tags.get("git_sha")
    return (
        f"{commit} on {', '.join(lineage.branches) or 'no branch'}" if commit else "none: no retrain made it"
    )


def _masks(lineage: Lineage) -> str:
    masks = lineage.masks
    if masks is None:
        return "unknown: trained outside this loop"
    people = ", ".join(map(str, sorted(masks["annotator"].unique()))) or "nobody"
    annotations = len(masks[["project_id", "annotation_id"]].drop_duplicates())
    tasks = len(masks[["project_id", "task_id"]].drop_duplicates())
    unknown = lineage.learnt - len(masks)
    more = f"; {unknown} more are no longer found among those collected" if unknown > 0 else ""
    return f"trained on {len(masks)} of {annotations} annotations in {tasks} tasks, annotators {people}{more}"


def _table(masks: pd.DataFrame | None) -> Iterator[str]:
    if masks is None or masks.empty:
        return
    for line in masks.head(SHOWN).to_string(index=False).splitlines():
        yield f"    {line}"
    if len(masks) > SHOWN:
        yield f"    … and {len(masks) - SHOWN} more: --json lists all"


def _link(one: Ancestor) -> str:
    tags = one.version.tags
    noc = f", NoC@90 {float(tags['noc90']):.2f}" if "noc90" in tags else ""
    snapshot = f", snapshot {tags['snapshot']}" if "snapshot" in tags else ""
    origin = f", fine-tuned from version {one.parent}" if one.parent else ", the first"
    return f"version {one.version.number}{snapshot}{noc}{origin}"
