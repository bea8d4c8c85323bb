"""Prepare: the seed set, what people labelled and what is replayed become `data/prepared`.

`train.parquet` is learnt from. `test.parquet` is what challenger and champion are compared on: images of the
same kind, held out for good. `general.parquet` is what must not get worse meanwhile. Nothing that is measured
on, and nothing that shows the same as it, is among what is learnt from.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from maskloop.masks import encode_coco
from pipelines.data.labelled import LabelledImages
from pipelines.data.likeness import is_near, perceptual_hash
from pipelines.data.prepared import Picture, PreparedSet
from pipelines.data.replay import OtherImages, Replayed
from pipelines.data.seed import SeedImage, seed_images
from pipelines.data.snapshot import read_snapshot
from pipelines.data.split import ASIDE, TEST, TRAIN, hash_new, place, read_splits
from pipelines.stages.params import read_params

PREPARED = Path("data/prepared")
REPORT = Path("reports/prepared.json")
SPLITS = (TRAIN, TEST)
GENERAL = "general"
LIKE_GENERAL = "like an image of prepare.general"
LIKE_TEST = "of prepare.base, like an image that is measured on"


def main(root: Path = Path()) -> None:
    params = read_params(root, "prepare")
    stage = Preparation.read(root, params)
    with (
        PreparedSet(root / PREPARED / f"{TRAIN}.parquet", TRAIN) as train,
        PreparedSet(root / PREPARED / f"{TEST}.parquet", TEST) as test,
        PreparedSet(root / PREPARED / f"{GENERAL}.parquet", TEST) as general,
    ):
        for picture in stage.general():
            general.add(picture)
        for split, picture in stage.own():
            (test if split == TEST else train).add(picture)
        for picture in stage.base():
            train.add(picture)
    sets = {prepared.path.stem: prepared.summary() for prepared in (train, test, general)}
    left_out = {"masks": stage.labelled.left_out, "images": dict(sorted(stage.left_out.items()))}
    _report(root / REPORT, sets | {"left_out": left_out})


@dataclass
class Preparation:
    """What goes where.

    splits: image_sha256, hash and split of every image that was recorded, collected or made.
    left_out: images that are in no set, by the reason.
    like_general: images that show the same as one of `prepare.general`, once those have been gone through.
    """

    root: Path
    params: dict[str, Any]
    seed: dict[str, Picture]
    labelled: LabelledImages
    replayed: Replayed
    splits: pd.DataFrame
    left_out: Counter[str] = field(default_factory=Counter)
    like_general: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, root: Path, params: dict[str, Any]) -> "Preparation":
        snapshot = read_snapshot(root)
        images = list(seed_images(params["rendered"]))
        record = read_splits(root, snapshot)
        replayed = Replayed(root, params["base"], params["base_images"])
        # what is not recorded, as before the first retrain, goes where it would be recorded
        hashes = hash_new(root, snapshot, record, images, replayed)
        placed = place(record, hashes, params["test_percent"], replayed.digests)
        seed = {picture.digest: picture for picture in map(_seed_picture, images)}
        splits = pd.concat([record, placed]).set_index("image_sha256")
        return cls(root, params, seed, LabelledImages(root, snapshot), replayed, splits)

    def general(self) -> Iterator[Picture]:
        """What must not get worse: the images of `prepare.general`, or the seed's own test images."""
        if not self.params["general"]:
            yield from (
                picture for digest, picture in sorted(self.seed.items()) if self._split(digest) == TEST
            )
            return
        others = OtherImages(
            self.root / self.params["general"], "prepare.general", lambda split: split != TRAIN
        )
        hashes = []
        for picture in others.pictures():
            hashes.append(perceptual_hash(picture.data))
            yield picture
        self.like_general = set(self.splits.index[is_near(list(self.splits["hash"]), hashes)])

    def own(self) -> Iterator[tuple[str, Picture]]:
        """The seed's and the labelled images, with the split that each is of; after `general`."""
        for digest in sorted(self.labelled.digests | set(self.seed)):
            split = self._split(digest)
            if split == ASIDE:
                self.left_out[ASIDE] += 1
            elif split == TRAIN and digest in self.like_general:
                self.left_out[LIKE_GENERAL] += 1
            else:
                yield split, self._picture(digest, split)

    def base(self) -> Iterator[Picture]:
        """What is replayed so that it is not forgotten; after `general`."""
        own = self.labelled.digests | set(self.seed)
        for picture in self.replayed.pictures():
            digest = picture.digest
            if digest in own:
                continue  # it is there with the masks of this project
            if self._split(digest) != TRAIN or digest in self.like_general:
                self.left_out[LIKE_TEST] += 1
            else:
                yield picture

    def _split(self, digest: str) -> str:
        return str(self.splits["split"][digest])

    def _picture(self, digest: str, split: str) -> Picture:
        # Corrections are what there is to learn. To test on, masks drawn without any model are fairer.
        seeded = digest in self.seed and (split == TEST or digest not in self.labelled.digests)
        return self.seed[digest] if seeded else self.labelled.picture(digest)


def _seed_picture(image: SeedImage) -> Picture:
    height, width = image.objects[0][1].shape
    objects = [_object(label, mask) for label, mask in image.objects]
    return Picture(image.name, image.source, image.data, height, width, objects)


def _object(label: str, mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    return {"rle": encode_coco(mask)["counts"], "category": label, "area": int(mask.sum()), "clicks": []}


def _report(path: Path, content: dict[str, Any]) -> None:
    """Write what there is, and what was left out by the reason."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    for name in (*SPLITS, GENERAL):
        print(f"{name}: {content[name]['images']} images, {content[name]['objects']} objects")
    for what, counts in content["left_out"].items():
        for reason, count in counts.items():
            print(f"left out: {count} {what}, {reason}")


if __name__ == "__main__":
    main()
