import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Generator

from maskloop.corpus import MIN_AREA, Corpus
from maskloop.errors import DatasetError
from maskloop.masks import encode_coco

UPPER = np.zeros((40, 50), dtype=bool)
UPPER[:15] = True
LOWER = ~UPPER


def item(mask, category="thing"):
    return {"rle": encode_coco(mask)["counts"], "category": category, "area": int(mask.sum())}


def row(objects, source="made", level=0, split="train"):
    image = np.full((40, 50, 3), level, np.uint8)
    row = {"image_id": "a", "source": source, "split": split, "height": 40, "width": 50}
    return {**row, "image": cv2.imencode(".png", image)[1].tobytes(), "objects": objects}


def corpus(rows, **options):
    return Corpus(pd.DataFrame(rows), **options)


def draws(source, count):
    generator = Generator().manual_seed(1)
    return [source.draw(generator) for _ in range(count)]


def test_draw__scene(tmp_path):
    pd.DataFrame([row([item(UPPER), item(LOWER)], level=7)]).to_parquet(tmp_path / "made-00.parquet")
    (scene,) = draws(Corpus.read(tmp_path), 1)
    assert scene.image.shape == (3, 40, 50) and scene.image.dtype == torch.uint8 and (scene.image == 7).all()
    assert len(scene.masks) == 2
    assert np.array_equal(scene.masks[1].numpy(), LOWER)


def test_draw__sources_by_share():
    rows = [row([item(UPPER)], "many", 10)] * 9 + [row([item(UPPER)], "few", 20)]
    balanced = draws(corpus(rows, shares={"many": 1.0, "few": 1.0}), 300)
    few = sum(int(scene.image[0, 0, 0]) == 20 for scene in balanced)
    assert 120 < few < 180
    by_size = draws(corpus(rows), 300)
    assert 10 < sum(int(scene.image[0, 0, 0]) == 20 for scene in by_size) < 60


def test_draw__same_seed_same_scenes():
    rows = [row([item(UPPER)], level=level) for level in range(20)]
    one, other = (draws(corpus(rows), 10) for _ in range(2))
    assert [int(scene.image[0, 0, 0]) for scene in one] == [int(scene.image[0, 0, 0]) for scene in other]


def test_draw__small_objects_left_out():
    small = np.zeros_like(UPPER)
    small.flat[: MIN_AREA - 1] = True
    assert [len(scene.masks) for scene in draws(corpus([row([item(small), item(UPPER)])]), 3)] == [1, 1, 1]
    with pytest.raises(DatasetError, match=f"at least {MIN_AREA} pixels"):
        corpus([row([item(small)])])


def test_draw__size_that_is_not_the_image_s():
    with pytest.raises(DatasetError, match=r"\(40, 50\) is recorded as \(41, 50\)"):
        draws(corpus([row([item(UPPER)]) | {"height": 41}]), 1)


def test_corpus__shares_of_an_unknown_source():
    with pytest.raises(DatasetError, match="no images of source 'cells'; sources here are made"):
        corpus([row([item(UPPER)])], shares={"cells": 1.0})


class TestStuff:
    SKY = (item(UPPER, "sky-other-merged"), item(LOWER, "person"))

    @pytest.mark.parametrize("source", ["coco", "base"])
    def test_draw__stuff_in_three_of_ten_scenes(self, source):
        scenes = draws(corpus([row(list(self.SKY), source)]), 400)
        assert 80 < sum(len(scene.masks) == 2 for scene in scenes) < 160
        alone = next(scene for scene in scenes if len(scene.masks) == 1)
        assert np.array_equal(alone.masks[0].numpy(), LOWER)

    def test_draw__nothing_but_stuff(self):
        scenes = draws(corpus([row([self.SKY[0]], "coco")]), 5)
        assert all(len(scene.masks) == 1 for scene in scenes)

    def test_draw__category_of_a_labelling_project(self):
        """A project that labels roads has objects called road."""
        labelled = [row([item(UPPER, "road"), item(LOWER, "car")], "label-studio")]
        assert all(len(scene.masks) == 2 for scene in draws(corpus(labelled), 20))

    def test_read__other_names_for_stuff(self, tmp_path):
        pd.DataFrame([row([item(UPPER, "sky"), item(LOWER, "cell")])]).to_parquet(tmp_path / "a.parquet")
        scenes = draws(Corpus.read(tmp_path, stuff={"made": {"sky"}}), 100)
        assert 10 < sum(len(scene.masks) == 2 for scene in scenes) < 50


class TestClicks:
    GIVEN = ({"row": 3.0, "col": 40.5, "positive": True}, {"row": 30.0, "col": 2.0, "positive": False})

    def test_draw__clicks_of_each_object(self, tmp_path):
        rows = [row([item(UPPER) | {"clicks": list(self.GIVEN)}, item(LOWER) | {"clicks": []}])]
        pd.DataFrame(rows).to_parquet(tmp_path / "made-00.parquet")
        (scene,) = draws(Corpus.read(tmp_path), 1)
        assert [clicks.tolist() for clicks in scene.clicks] == [[[3, 40.5, 1], [30, 2, -1]], []]

    @pytest.mark.parametrize("clicks", [None, []])
    def test_draw__nobody_clicked(self, clicks):
        (scene,) = draws(corpus([row([item(UPPER) | {"clicks": clicks}, item(LOWER)])]), 1)
        assert scene.clicks == ()

    def test_draw__clicks_stay_with_their_object(self):
        small = np.zeros_like(UPPER)
        small.flat[: MIN_AREA - 1] = True
        objects = [item(small) | {"clicks": list(self.GIVEN)}, item(UPPER) | {"clicks": list(self.GIVEN[:1])}]
        (scene,) = draws(corpus([row(objects)]), 1)
        assert [clicks.tolist() for clicks in scene.clicks] == [[[3, 40.5, 1]]]
