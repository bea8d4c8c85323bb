import json
from hashlib import sha256

import numpy as np
import pytest
from pycocotools import mask as codec

from maskloop.datasets import open_dataset
from maskloop.datasets.categories import SEEN, STUFF, VOC
from maskloop.datasets.coco import segmentation_to_mask
from maskloop.errors import DatasetError, MaskError
from maskloop.masks import encode_coco
from tests.datasets.files import IMAGE, LEFT, save

SQUARE = [[1.0, 1.0, 5.0, 1.0, 5.0, 3.0, 1.0, 3.0]]
CATEGORIES = [{"id": 1, "name": "person"}, {"id": 17, "name": "cat"}, {"id": 44, "name": "fork"}]


def annotation(number, image=1, category=1, segmentation=SQUARE, **changes):
    entry = {"id": number, "image_id": image, "category_id": category, "segmentation": segmentation}
    return {**entry, "area": 8.0, "iscrowd": 0, "bbox": [1, 1, 4, 2], **changes}


def image(number, name=None):
    return {"id": number, "file_name": name or f"{number:012d}.jpg", "height": 4, "width": 6}


def write(file, annotations, images=None, categories=CATEGORIES):
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"images": images or [image(1)], "annotations": annotations, "categories": categories}
    file.write_text(json.dumps(content))


@pytest.fixture
def root(tmp_path):
    """COCO as its archives unpack, with other annotation files beside that of the instances."""
    runs = encode_coco(LEFT)
    write(
        tmp_path / "annotations" / "instances_val2017.json",
        [
            annotation(900100, segmentation={"size": [4, 6], "counts": [0, 8, 16]}, iscrowd=1),
            annotation(31, image=2, category=17, segmentation=runs),
            annotation(32, segmentation={"size": [4, 6], "counts": [0, 8, 16]}),
            annotation(33),
            annotation(34, segmentation=[[1.0, 1.0, 1.0, 1.0, 1.0, 1.0]], area=0.0),
        ],
        [image(1), image(2), image(3)],
    )
    write(tmp_path / "annotations" / "instances_train2017.json", [])
    (tmp_path / "annotations" / "captions_val2017.json").write_text("{}")
    for number in (1, 2, 3):
        save(tmp_path, f"val2017/{number:012d}.jpg", IMAGE)
    return tmp_path


def test_open_coco__published_layout(root):
    """Polygons and both kinds of run lengths; no crowd, nothing without a pixel, no image without objects."""
    samples = open_dataset("coco", root)
    assert [sample.image_id for sample in samples] == [
        "000000000001#32",
        "000000000001#33",
        "000000000002#31",
    ]
    assert [sample.category for sample in samples] == ["person", "person", "cat"]
    np.testing.assert_array_equal(samples[0].mask, LEFT)
    np.testing.assert_array_equal(samples[2].mask, LEFT)
    assert samples[1].mask.sum() == 8 and samples[1].mask[1:3, 1:5].all()
    assert samples[0].image is samples[1].image


def test_open_coco__path_of_a_json_file(root):
    assert len(open_dataset("coco", root / "annotations" / "instances_val2017.json")) == 3


def test_open_coco__several_json_files(root):
    (root / "annotations" / "instances_val2017.json").unlink()
    with pytest.raises(DatasetError, match=r"not 2: annotations/captions_val2017\.json, annotations/inst"):
        open_dataset("coco", root)


def test_open_coco__no_json_file(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(DatasetError, match=r"exactly one \*\.json .*not 0\. .*Found there: images\."):
        open_dataset("coco", tmp_path)


class TestExports:
    @pytest.mark.parametrize("name", ["images/one.png", "images\\one.png", "../../media/upload/1/one.png"])
    def test_open_coco__label_studio(self, name, tmp_path):
        """`result.json` beside `images/`; rectangles have an empty segmentation; ids start at 0."""
        box = annotation(1, image=0, category=0, segmentation=[], ignore=0)
        drawn = annotation(0, image=0, category=0, ignore=0)
        write(tmp_path / "result.json", [drawn, box], [image(0, name)], [{"id": 0, "name": "Cell"}])
        save(tmp_path, "images/one.png", IMAGE)
        (sample,) = open_dataset("coco", tmp_path)
        assert (sample.category, sample.image_id.rpartition("/")[2]) == ("Cell", "one#0")
        np.testing.assert_array_equal(sample.image, IMAGE)

    def test_open_coco__cvat(self, tmp_path):
        """`file_name` with folders, images in `images/<subset>`, an image without annotations."""
        images = [image(1, "day/one.png"), image(2, "night/one.png"), image(3, "night/two.png")]
        entries = [annotation(2, image=2), annotation(1)]
        write(tmp_path / "annotations" / "instances_default.json", entries, images)
        save(tmp_path, "images/default/day/one.png", IMAGE)
        save(tmp_path, "images/default/night/one.png", IMAGE[::-1])
        day, night = open_dataset("coco", tmp_path)
        assert (day.image_id, night.image_id) == ("day/one#1", "night/one#2")
        np.testing.assert_array_equal(night.image, IMAGE[::-1])

    def test_open_coco__without_iscrowd_and_area(self, tmp_path):
        entry = annotation(1)
        del entry["iscrowd"], entry["area"]
        write(tmp_path / "a.json", [entry, annotation(2, area=None)], [image(1, "a.png")])
        save(tmp_path, "a.png", IMAGE)
        assert len(open_dataset("coco", tmp_path)) == 2

    def test_open_coco__nothing_but_crowds_and_rectangles(self, tmp_path):
        entries = [annotation(1, iscrowd=1), annotation(2, segmentation=[])]
        write(tmp_path / "a.json", entries)
        with pytest.raises(DatasetError, match=r"of 2 annotations 1 are marked iscrowd, 1 have no seg.*CVAT"):
            open_dataset("coco", tmp_path)

    def test_open_coco__images_elsewhere(self, tmp_path):
        write(tmp_path / "a.json", [annotation(1)])
        with pytest.raises(DatasetError, match=r"000000000001\.jpg' is in none of .*images'"):
            open_dataset("coco", tmp_path)

    @pytest.mark.parametrize(
        "change", [{"image_id": 9}, {"category_id": 9}, {"segmentation": 7}, {"id": "x"}, {"area": "big"}]
    )
    def test_open_coco__damaged_annotation(self, change, tmp_path):
        write(tmp_path / "a.json", [annotation(1, area=0) | change])
        save(tmp_path, "000000000001.jpg", IMAGE)
        with pytest.raises(DatasetError, match=r"a\.json"):
            open_dataset("coco", tmp_path)

    @pytest.mark.parametrize("content", ["{", "[]", '{"images": []}'])
    def test_open_coco__no_coco_json(self, content, tmp_path):
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(DatasetError, match=r"a\.json"):
            open_dataset("coco", tmp_path)


class TestSplits:
    @pytest.fixture
    def many(self, tmp_path):
        """Twelve objects of `person`, three of `cat` and eleven of `fork`, over two images."""
        counts = {1: 12, 17: 3, 44: 11}
        pairs = [(category, number) for category, count in counts.items() for number in range(count)]
        entries = [
            annotation(category * 100 + number, image=1 + number % 2, category=category)
            for category, number in pairs
        ]
        write(tmp_path / "a.json", entries, [image(1), image(2)])
        for number in (1, 2):
            save(tmp_path, f"{number:012d}.jpg", IMAGE)
        return tmp_path

    def test_open_coco__ten_objects_of_each_category(self, many):
        seen = [sample.category for sample in open_dataset("coco", many, split="seen")]
        assert (len(seen), seen.count("person"), seen.count("cat")) == (13, 10, 3)
        assert [sample.category for sample in open_dataset("coco", many, split="unseen")] == ["fork"] * 10

    def test_open_coco__everyone_draws_the_same(self, many):
        numbers = sorted(range(4400, 4411), key=lambda number: sha256(str(number).encode()).hexdigest())
        drawn = [int(s.image_id.partition("#")[2]) for s in open_dataset("coco", many, split="unseen")]
        assert sorted(drawn) == sorted(numbers[:10])

    def test_open_coco__unknown_split(self, many):
        with pytest.raises(DatasetError, match=r"split 'val'\. Splits here: seen, unseen"):
            open_dataset("coco", many, split="val")

    def test_open_coco__export_without_categories_of_voc(self, tmp_path):
        write(tmp_path / "a.json", [annotation(1)], categories=[{"id": 1, "name": "cell"}])
        with pytest.raises(DatasetError, match=r"split 'seen'\. Splits here: unseen"):
            open_dataset("coco", tmp_path, split="seen")


def test_categories__counts():
    assert (len(VOC), len(SEEN), len(STUFF)) == (20, 20, 53)


class TestSegmentation:
    def test_segmentation_to_mask__as_pycocotools(self):
        polygons = [[0.5, 0.5, 20.3, 2.1, 11.7, 15.2], [5.0, 10.0, 30.0, 12.0, 25.0, 19.0, 4.0, 17.5]]
        expected = codec.decode(codec.merge(codec.frPyObjects(polygons, 20, 32)))
        np.testing.assert_array_equal(segmentation_to_mask(polygons, 20, 32), expected)

    @pytest.mark.parametrize(
        "segmentation",
        [
            [[1, 1, 2, 2]],
            [[1, 1, 2, 2, 3]],
            [[1, 1, 2, 2, 3, 1e12]],
            [[1, 1, 2, 2, 3, float("nan")]],
            {"size": [4, 6], "counts": [3, 4]},
            {"size": [4, 6], "counts": [30, -6]},
            {"size": [4, 6], "counts": "0"},
            {"size": [4, 6]},
            {"size": [6, 4], "counts": [24]},
            "polygon",
        ],
    )
    def test_segmentation_to_mask__damaged(self, segmentation):
        with pytest.raises(MaskError):
            segmentation_to_mask(segmentation, 4, 6)
