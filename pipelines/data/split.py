"""The split: which images are trained on and which are measured on, decided once and for good.

An image goes where those that show the same went, so that nothing is measured on what a twin of it taught.
The record is append-only: what it holds, no later image and no parameter changes.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipelines.data.likeness import near_pairs, perceptual_hash
from pipelines.data.replay import Replayed
from pipelines.data.seed import SeedImage, seed_images
from pipelines.data.shards import read_rows
from pipelines.data.snapshot import Snapshot
from pipelines.data.stored import StoredImages
from pipelines.data.tables import read_table, write_table

FOLDER = Path("data/split")
TRAIN, TEST, ASIDE = "train", "test", "aside"
COLUMNS = ["image_sha256", "hash", "group", "split"]
SCHEMA = pa.schema([(name, pa.string()) for name in COLUMNS])


@dataclass(frozen=True)
class Family:
    """New images that show the same, in order, and the group and split of each recorded image near them."""

    images: tuple[str, ...]
    kin: frozenset[tuple[str, str]]

    @property
    def group(self) -> str:
        """What the family is recorded under: the group that it is near, or the first of its images."""
        return min((group for group, _ in self.kin), default=self.images[0])

    def split(self, test_percent: int, replayed: Collection[str]) -> str:
        """Where its kin are; by its digest if it has none; aside if it would join the two sides."""
        sides = {split for _, split in self.kin}
        if sides:
            return sides.pop() if len(sides) == 1 else ASIDE
        if any(image in replayed for image in self.images):
            return TRAIN  # earlier checkpoints have learnt from it
        return split_of(self.images[0], test_percent)


def assign(
    root: Path,
    snapshot: Snapshot,
    test_percent: int,
    rendered: int = 0,
    base: str = "",
    base_images: int = 0,
) -> Snapshot:
    """Record each image of the snapshot, of the seed set and of those replayed that has no split yet.

    Args:
        root: of the repository.
        snapshot: what has been collected.
        test_percent: share of the images that are measured on.
        rendered: composites of the seed set.
        base: path of the images that are replayed; empty: none.
        base_images: how many of them.

    Returns:
        The snapshot with the files that were added; the same one when there was nothing to add.

    Raises:
        SnapshotError: an image or a file of the record is missing or damaged.
        SettingsError: there are no images at `base`.
    """
    record = read_splits(root, snapshot)
    replayed = Replayed(root, base, base_images)
    hashes = hash_new(root, snapshot, record, seed_images(rendered), replayed)
    placed = place(record, hashes, test_percent, replayed.digests)
    if placed.empty:
        return snapshot
    if any(shard.name.startswith(f"part-{snapshot.name}-") for shard in snapshot.splits):
        snapshot = replace(snapshot, version=snapshot.version + 1)  # files are never written again
    table = pa.Table.from_pandas(placed, SCHEMA, preserve_index=False)
    return replace(snapshot, splits=snapshot.splits + write_table(root, FOLDER, snapshot.name, table))


def read_splits(root: Path, snapshot: Snapshot) -> pd.DataFrame:
    """The record: image_sha256, hash, group and split of every image that has one.

    Raises:
        SnapshotError: a file is missing, or holds something else than what the snapshot recorded.
    """
    return read_table(root, FOLDER, snapshot.splits, SCHEMA).to_pandas()


def hash_new(
    root: Path,
    snapshot: Snapshot,
    record: pd.DataFrame,
    seed: Iterable[SeedImage],
    replayed: Replayed,
) -> dict[str, str]:
    """Perceptual hashes by digest of all images, without those that are recorded."""
    known = set(record["image_sha256"])
    collected = set(read_rows(root, snapshot, ["image_sha256"])["image_sha256"].to_pylist()) - {""}
    images = StoredImages(root)
    hashes = {digest: perceptual_hash(images.read(digest)) for digest in sorted(collected - known)}
    others = chain((image.data for image in seed), (picture.data for picture in replayed.pictures()))
    for data in others:
        digest = sha256(data).hexdigest()
        if digest not in known:
            hashes[digest] = perceptual_hash(data)
    return hashes


def place(
    record: pd.DataFrame, hashes: Mapping[str, str], test_percent: int, replayed: Collection[str] = ()
) -> pd.DataFrame:
    """Rows of the record for new images.

    Args:
        record: the images that have their split.
        hashes: perceptual hashes of the new ones by digest.
        test_percent: share of the images that are measured on.
        replayed: digests of those among them that are trained on unless they are near a test image.
    """
    rows = [
        (image, hashes[image], family.group, family.split(test_percent, replayed))
        for family in _families(record, hashes)
        for image in family.images
    ]
    return pd.DataFrame(sorted(rows), columns=COLUMNS, dtype="str")


def split_of(digest: str, test_percent: int) -> str:
    """`train` or `test` for an image without kin, whose bytes have this sha256 (hexadecimal)."""
    return TEST if int(digest[:8], 16) % 100 < test_percent else TRAIN


def _families(record: pd.DataFrame, hashes: Mapping[str, str]) -> Iterator[Family]:
    new = sorted(set(hashes.values()))  # of equal ones, such as blank images, there may be many
    family_of = dict(zip(new, _components(len(new), *near_pairs(new, new)).tolist(), strict=True))
    members: dict[int, list[str]] = defaultdict(list)
    for image in sorted(hashes):
        members[family_of[hashes[image]]].append(image)
    recorded: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for known, group, split in zip(record["hash"], record["group"], record["split"], strict=True):
        recorded[known].add((group, split))
    others = list(recorded)
    kin: dict[int, set[tuple[str, str]]] = defaultdict(set)
    for index, other in zip(*near_pairs(new, others), strict=True):
        kin[family_of[new[index]]] |= recorded[others[other]]
    return (Family(tuple(names), frozenset(kin[family])) for family, names in members.items())


def _components(
    count: int, first: npt.NDArray[np.intp], second: npt.NDArray[np.intp]
) -> npt.NDArray[np.int32]:
    """For each of `count` nodes the number of the part of the graph that it is in."""
    edges = coo_array((np.ones(len(first), dtype=np.bool_), (first, second)), shape=(count, count))
    return connected_components(edges, directed=False)[1]
