import json
import shutil

import numpy as np
import pytest

from maskloop.datasets import open_dataset
from maskloop.errors import DatasetError
from tests.datasets.files import IMAGE, LEFT, save

FILE = "coco_format-mask_encoding=rle-instances_2017.json"


def write(folder, links=True):
    """One split of a sub-set as the archive has it, with a hollow mask in run lengths."""
    save(folder, "image/0001.jpg", IMAGE)
    save(folder, "instance_map/0001.png", LEFT.astype(np.uint8))
    content = {
        "images": [{"id": 1, "file_name": "0001.jpg", "height": 4, "width": 6}],
        "annotations": [
            {
                "id": 5,
                "image_id": 1,
                "category_id": 1,
                "iscrowd": 0,
                "area": 8,
                "segmentation": {"size": [4, 6], "counts": [0, 8, 16]},
            }
        ],
        "categories": [{"id": 1, "name": "object"}],
    }
    (folder / FILE).write_text(json.dumps(content))
    if links:
        (folder / "coco_format").mkdir()
        (folder / "coco_format" / "instances_train2017.json").symlink_to(f"../{FILE}")
        (folder / "coco_format" / "train2017").symlink_to("../image")


@pytest.fixture
def root(tmp_path):
    for subset in ("antenna", "wire"):
        for split in ("train", "val"):
            write(tmp_path / subset / split)
    return tmp_path


def test_open_ishape__published_layout(root):
    samples = open_dataset("ishape", root, split="val")
    assert [sample.image_id for sample in samples] == ["antenna/val/0001#5", "wire/val/0001#5"]
    assert [sample.category for sample in samples] == ["antenna", "wire"]
    np.testing.assert_array_equal(samples[0].mask, LEFT)
    assert len(open_dataset("ishape", root)) == 4


def test_open_ishape__one_subset(root):
    (sample,) = open_dataset("ishape", root / "wire", split="train")
    assert sample.category == "wire"


def test_open_ishape__only_what_was_linked(root):
    folder = root / "wire" / "val"
    for name in ("instances_train2017.json", "train2017"):
        linked = folder / "coco_format" / name
        target = linked.resolve()
        linked.unlink()
        target.rename(linked)
    shutil.rmtree(folder / "instance_map")
    assert open_dataset("ishape", root / "wire", split="val")[0].image.shape == IMAGE.shape


def test_open_ishape__split_that_is_not_there(root):
    shutil.rmtree(root / "antenna" / "val")
    assert len(open_dataset("ishape", root, split="val")) == 1
    shutil.rmtree(root / "wire" / "val")
    with pytest.raises(DatasetError, match=r"split 'val'\. Splits here: train"):
        open_dataset("ishape", root, split="val")


def test_open_ishape__no_subsets(tmp_path):
    (tmp_path / "tree").mkdir()
    with pytest.raises(DatasetError, match=r"sub-sets \(antenna, branch, .*Found there: tree\."):
        open_dataset("ishape", tmp_path)


def test_open_ishape__json_missing(root):
    (root / "wire" / "val" / FILE).unlink()
    shutil.rmtree(root / "wire" / "val" / "coco_format")
    with pytest.raises(DatasetError, match=r"wire.val' must hold one COCO-style \*\.json.*not 0"):
        open_dataset("ishape", root)
