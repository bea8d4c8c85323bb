"""Ten rounds of labelling: nothing that is measured on, and no twin of it, is ever learnt from."""

import random
from dataclasses import replace
from hashlib import sha256
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from maskloop.masks import encode_coco
from pipelines.data import split
from pipelines.data.seed import seed_images
from pipelines.data.shards import Row, write_shards
from pipelines.data.snapshot import Snapshot, write_snapshot
from pipelines.stages import prepare
from tests.pipelines.pictures import TWINS, encoded, picture

ROUNDS = 10
COMPOSITES = [image for image in seed_images(10) if image.source == "rendered"]


class Project:
    """People who label new pictures, twins of old ones, correct and delete, while somebody turns the knobs.

    families: what each picture shows, by the digest of its bytes: a number, or the name of a seed image.
    """

    def __init__(self, root):
        self.root = root
        self.random = random.Random(7)
        self.snapshot = Snapshot()
        self.families = {sha256(image.data).hexdigest(): image.name for image in COMPOSITES}
        self.originals = {image.name: Image.open(BytesIO(image.data)).convert("RGB") for image in COMPOSITES}
        self.labelled = []
        (root / "data/images").mkdir(parents=True)

    def new(self):
        number = len(self.originals)
        self.originals[number] = picture(number)
        return self._store(number, encoded(self.originals[number]))

    def twin(self):
        family = self.random.choice(list(self.originals))
        return self._store(family, self.copy(family))

    def copy(self, family):
        data = self.random.choice(list(TWINS.values()))(self.originals[family])
        self.families[sha256(data).hexdigest()] = family
        return data

    def _store(self, family, data):
        name = sha256(data).hexdigest()
        self.families[name] = family
        (self.root / f"data/images/{name}.png").write_bytes(data)
        return name, Image.open(BytesIO(data)).size

    def label(self, name, size, annotation, time, deleted=False):
        width, height = size
        mask = np.zeros((height, width), dtype=bool)
        mask[10:40, 10 : 40 + time % 10] = True
        rle = "" if deleted else encode_coco(mask)["counts"]
        return Row(1, annotation, annotation, "a", f"{time:04d}", 1, "Cell", height, width, rle, name, "{}")

    def round(self, number):
        """New pictures, twins, corrected and deleted ones; then a split with parameters of this round."""
        added = [self.new() for _ in range(4)] + [self.twin() for _ in range(4)]
        start = len(self.labelled)
        self.labelled += added
        again = self.random.sample(range(start), min(start, 3))
        rows = [self.label(*image, start + index, number) for index, image in enumerate(added)]
        rows += [self.label(*self.labelled[index], index, number) for index in again[:2]]
        rows += [self.label(*self.labelled[index], index, number, deleted=True) for index in again[2:]]
        self.snapshot = replace(self.snapshot, version=number)
        shards = write_shards(self.root, self.snapshot.name, rows)
        self.snapshot = replace(self.snapshot, shards=self.snapshot.shards + shards)
        params = self.params_of_round = self.params(number)
        settings = {name: value for name, value in params.items() if name != "general"}
        self.snapshot = split.assign(self.root, self.snapshot, **settings)
        write_snapshot(self.root, self.snapshot)
        (self.root / "params.yaml").write_text(yaml.safe_dump({"prepare": params}))
        prepare.main(self.root)

    def params(self, number):
        """From round 5 on, other sets with twins of anything are replayed and kept an eye on."""
        base, general = (self.shard(name, side) for name, side in (("base", "train"), ("general", "test")))
        return {
            "rendered": 2 + number // 2,
            "test_percent": [20, 50, 5, 80, 30][number % 5],
            "base": base if number >= 5 else "",
            "base_images": 6,
            "general": general if number >= 5 and number % 2 else "",
        }

    def shard(self, name, side):
        rows = []
        families = self.random.sample(sorted(self.originals, key=str), 4)
        if name == "base":  # and some that nobody has labelled yet
            families += range(len(self.originals), len(self.originals) + 2)
            self.originals |= {number: picture(number) for number in families[-2:]}
        for family in families:
            data = self.copy(family)
            width, height = Image.open(BytesIO(data)).size
            objects = [{"rle": self.label("", (width, height), 0, 0).rle, "category": "Cell", "area": 900}]
            size = {"height": height, "width": width}
            row = {"image_id": str(family), "source": name, "split": side, "image": data, "objects": objects}
            rows.append(row | size)
        pd.DataFrame(rows).to_parquet(self.root / f"{name}.parquet")
        return f"{name}.parquet"

    def shown(self, name):
        images = pd.read_parquet(self.root / f"data/prepared/{name}.parquet", columns=["image"])["image"]
        return {self.families[sha256(data).hexdigest()] for data in images}


def leaks(root):
    """What was measured on in some round and learnt from in the same or any other, with the twins of it."""
    project = Project(root)
    learnt, measured, found = set(), set(), set()
    for number in range(1, ROUNDS + 1):
        project.round(number)
        own = project.shown("train")
        learnt |= own
        measured |= project.shown("test")
        # what is kept an eye on may change with the parameter; the round that measures on it learns without
        general = project.shown("general")
        found |= own & general
        assert own and project.shown("test")
        assert general or not project.params_of_round["general"]
    assert len(project.snapshot.splits) == ROUNDS, "the record grew in each round"
    return found | (learnt & measured)


@pytest.fixture(autouse=True)
def few_seeds(monkeypatch):
    for module in (split, prepare):
        monkeypatch.setattr(module, "seed_images", lambda rendered: COMPOSITES[:rendered])


def test_rounds__nothing_measured_on_is_ever_learnt_from(tmp_path):
    assert not leaks(tmp_path)


def test_rounds__leak_without_the_grouping(tmp_path, monkeypatch):
    """The rounds above do have what leaks where an image's bytes alone decide."""
    nothing = np.zeros(0, dtype=np.intp)
    monkeypatch.setattr(split, "near_pairs", lambda hashes, others: (nothing, nothing))
    assert len(leaks(tmp_path)) >= 5
