from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from maskloop import datasets
from maskloop.datasets import open_dataset
from maskloop.errors import DatasetError
from maskloop.masks import encode_coco

IMAGE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
LEFT = np.zeros((4, 6), dtype=bool)
LEFT[:, :2] = True


def png(pixels):
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def save(root, name, pixels):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def row(image_id, masks, split="test", image=None):
    return {
        "image_id": image_id,
        "source": "made",
        "split": split,
        "height": 4,
        "width": 6,
        "image": png(IMAGE) if image is None else image,
        "objects": [
            {"rle": encode_coco(mask)["counts"], "category": f"thing {number}", "area": int(mask.sum())}
            for number, mask in enumerate(masks)
        ],
    }


def write_shard(path, rows, **options):
    pd.DataFrame(rows).to_parquet(path, index=False, **options)


class TestOpenDataset:
    def test_open_dataset__unknown_name(self, tmp_path):
        with pytest.raises(DatasetError, match=r"'coco'.*Known: parquet, grabcut, berkeley, davis"):
            open_dataset("coco", tmp_path)

    @pytest.mark.parametrize("name", ["parquet", "grabcut", "berkeley", "davis"])
    def test_open_dataset__no_such_folder(self, name, tmp_path):
        with pytest.raises(DatasetError, match=r"nowhere.*There is no such folder"):
            open_dataset(name, tmp_path / "nowhere")

    @pytest.mark.parametrize("limit", [0, -1])
    def test_open_dataset__limit_that_leaves_none(self, limit, tmp_path):
        with pytest.raises(DatasetError, match=f"limit of {limit}"):
            open_dataset("parquet", tmp_path, limit=limit)


class TestParquet:
    def test_open_dataset__one_sample_an_object(self, tmp_path):
        write_shard(tmp_path / "made-00.parquet", [row("a", [LEFT, ~LEFT]), row("b", [LEFT])])
        samples = open_dataset("parquet", tmp_path)
        assert [sample.image_id for sample in samples] == ["a", "a#1", "b"]
        assert [sample.category for sample in samples] == ["thing 0", "thing 1", "thing 0"]
        np.testing.assert_array_equal(samples[1].image, IMAGE)
        np.testing.assert_array_equal(samples[1].mask, ~LEFT)
        assert samples[-1].ignore is None

    def test_open_dataset__single_shard_and_string(self, tmp_path):
        path = tmp_path / "made-00.parquet"
        write_shard(path, [row("a", [LEFT])])
        assert len(open_dataset("parquet", str(path))) == 1

    def test_open_dataset__split_over_shards_and_row_groups(self, tmp_path):
        rows = [row(f"a{i}", [LEFT], split=("train", "val")[i % 2], image=png(IMAGE + i)) for i in range(5)]
        write_shard(tmp_path / "made-00.parquet", rows, row_group_size=2)
        write_shard(tmp_path / "made-01.parquet", [row("b", [LEFT], split="val")])
        samples = open_dataset("parquet", tmp_path, split="val")
        assert [sample.image_id for sample in samples] == ["a1", "a3", "b"]
        np.testing.assert_array_equal(samples[1].image, IMAGE + 3)
        everything = open_dataset("parquet", tmp_path)
        for place in (4, 0, 3, 1, 2):
            np.testing.assert_array_equal(everything[place].image, IMAGE + place)

    def test_open_dataset__limit(self, tmp_path):
        write_shard(tmp_path / "made-00.parquet", [row("a", [LEFT] * 3), row("b", [LEFT])])
        samples = open_dataset("parquet", tmp_path, limit=2)
        assert [sample.image_id for sample in samples] == ["a", "a#1"]
        assert len(open_dataset("parquet", tmp_path, limit=9)) == 4

    def test_open_dataset__unknown_split(self, tmp_path):
        write_shard(
            tmp_path / "made-00.parquet", [row("a", [LEFT], split="train"), row("b", [], split="val")]
        )
        with pytest.raises(DatasetError, match=r"split 'test'.*train, val"):
            open_dataset("parquet", tmp_path, split="test")

    def test_open_dataset__folder_without_shards(self, tmp_path):
        (tmp_path / "notes.txt").touch()
        with pytest.raises(DatasetError, match=r"\*\.parquet in it\. Found there: notes\.txt\."):
            open_dataset("parquet", tmp_path)

    def test_open_dataset__file_that_is_no_parquet(self, tmp_path):
        (tmp_path / "made-00.parquet").write_bytes(b"PAR1 of another kind")
        with pytest.raises(DatasetError, match=r"made-00\.parquet.*cannot be read"):
            open_dataset("parquet", tmp_path)

    def test_open_dataset__missing_columns(self, tmp_path):
        pd.DataFrame({"image_id": ["a"], "image": [b""]}).to_parquet(tmp_path / "made-00.parquet")
        with pytest.raises(DatasetError, match="lacks the columns height, objects, split, width"):
            open_dataset("parquet", tmp_path)

    def test_sample__image_decoded_once_for_its_objects(self, tmp_path, monkeypatch):
        calls = []
        decode = datasets.decode_image
        monkeypatch.setattr(datasets, "decode_image", lambda data: calls.append(1) or decode(data))
        write_shard(tmp_path / "made-00.parquet", [row("a", [LEFT] * 5)])
        samples = open_dataset("parquet", tmp_path)
        assert not calls  # opening decodes nothing
        assert all(sample.image is samples[0].image for sample in samples)
        assert len(calls) == 1

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"image": b"not a photo"}, "'a#1'.*11 bytes"),
            ({"height": 5}, "'a#1'.*COCO RLE"),
            ({"image": png(IMAGE[:, :5])}, "'a#1'.*5 x 4 pixels, its mask 6 x 4"),
        ],
    )
    def test_sample__damaged(self, change, message, tmp_path):
        write_shard(tmp_path / "made-00.parquet", [row("a", [LEFT, LEFT]) | change])
        with pytest.raises(DatasetError, match=message):
            open_dataset("parquet", tmp_path)[1]

    def test_sample__empty_mask(self, tmp_path):
        write_shard(tmp_path / "made-00.parquet", [row("a", [np.zeros_like(LEFT)])])
        with pytest.raises(DatasetError, match=r"'a'.*mask is empty"):
            open_dataset("parquet", tmp_path)[0]

    def test_samples__slices_are_read_no_sooner(self, tmp_path):
        write_shard(tmp_path / "made-00.parquet", [row("a", [LEFT], image=b"broken"), row("b", [LEFT])])
        later = open_dataset("parquet", tmp_path)[1:]
        assert [sample.image_id for sample in later] == ["b"]


class TestGrabCut:
    def test_open_dataset__published_layout(self, tmp_path):
        levels = np.array([[0, 64, 128, 255]], np.uint8)
        save(tmp_path, "data_GT/banana1.bmp", IMAGE[:1, :4])
        save(tmp_path, "data_GT/person.jpg", IMAGE[:1, :4])
        save(tmp_path, "data_GT/upper.JPG", IMAGE[:1, :4])
        for name in ("banana1", "person", "upper"):
            save(tmp_path, f"boundary_GT/{name}.bmp", levels)
        (tmp_path / "data_GT" / "Thumbs.db").touch()
        (tmp_path / "data_GT" / "._person.jpg").touch()
        samples = open_dataset("grabcut", tmp_path)
        assert [sample.image_id for sample in samples] == ["banana1", "person", "upper"]
        assert samples[0].mask.tolist() == [[False, False, False, True]]
        assert samples[0].ignore.tolist() == [[False, False, True, False]]
        np.testing.assert_array_equal(samples[0].image, IMAGE[:1, :4])

    def test_open_dataset__has_no_splits(self, tmp_path):
        with pytest.raises(DatasetError, match="'grabcut' has no splits"):
            open_dataset("grabcut", tmp_path, split="test")

    def test_open_dataset__folders_of_another_dataset(self, tmp_path):
        save(tmp_path, "img/a.png", IMAGE)
        save(tmp_path, "gt/a.png", IMAGE)
        with pytest.raises(DatasetError, match=r"'data_GT'.*'boundary_GT'.*Found there: gt, img\."):
            open_dataset("grabcut", tmp_path)

    def test_open_dataset__image_without_mask(self, tmp_path):
        save(tmp_path, "data_GT/a.png", IMAGE)
        save(tmp_path, "data_GT/b.png", IMAGE)
        save(tmp_path, "boundary_GT/a.png", IMAGE)
        with pytest.raises(DatasetError, match=r"'data_GT' \(2\) .*'boundary_GT' \(1\).*Alone: b\."):
            open_dataset("grabcut", tmp_path)

    def test_open_dataset__empty_folders(self, tmp_path):
        for name in ("data_GT", "boundary_GT"):
            (tmp_path / name).mkdir()
        with pytest.raises(DatasetError, match=r"\(0\)"):
            open_dataset("grabcut", tmp_path)

    def test_open_dataset__two_images_of_one_name(self, tmp_path):
        save(tmp_path, "data_GT/a.png", IMAGE)
        save(tmp_path, "data_GT/a.bmp", IMAGE)
        save(tmp_path, "boundary_GT/a.bmp", IMAGE)
        with pytest.raises(DatasetError, match=r"'a\.bmp' and 'a\.png'.*share a name"):
            open_dataset("grabcut", tmp_path)

    def test_sample__damaged_mask(self, tmp_path):
        save(tmp_path, "data_GT/a.png", IMAGE)
        save(tmp_path, "boundary_GT/a.bmp", IMAGE)
        (tmp_path / "boundary_GT" / "a.bmp").write_bytes(b"BM")
        with pytest.raises(DatasetError, match=r"'a'.*a\.bmp"):
            open_dataset("grabcut", tmp_path)[0]


class TestBerkeley:
    def test_open_dataset__several_masks_an_image(self, tmp_path):
        save(tmp_path, "images/113334.jpg", IMAGE)
        save(tmp_path, "images/216053.jpg", IMAGE)
        save(tmp_path, "masks/113334.png", LEFT.astype(np.uint8) * 255)
        save(tmp_path, "masks/216053#1.png", LEFT.astype(np.uint8) * 255)
        save(tmp_path, "masks/216053#2.png", (~LEFT).astype(np.uint8) * 255)
        samples = open_dataset("berkeley", tmp_path)
        assert [sample.image_id for sample in samples] == ["113334", "216053#1", "216053#2"]
        np.testing.assert_array_equal(samples[2].mask, ~LEFT)
        assert samples[1].image is samples[2].image
        assert samples[2].ignore is None

    def test_open_dataset__image_stored_again_for_each_mask(self, tmp_path):
        for name in ("a#0", "a#1"):
            save(tmp_path, f"images/{name}.png", IMAGE)
            save(tmp_path, f"masks/{name}.png", LEFT.astype(np.uint8) * 255)
        assert [sample.image_id for sample in open_dataset("berkeley", tmp_path)] == ["a#0", "a#1"]

    def test_sample__mask_of_zeros_and_ones(self, tmp_path):
        save(tmp_path, "images/a.png", IMAGE)
        save(tmp_path, "masks/a.png", LEFT.astype(np.uint8))
        np.testing.assert_array_equal(open_dataset("berkeley", tmp_path)[0].mask, LEFT)


class TestDavis:
    @pytest.mark.parametrize("value", [1, 38, 128, 255])
    def test_sample__every_value_but_zero_is_the_object(self, value, tmp_path):
        save(tmp_path, "img/bear_00000.jpg", IMAGE)
        save(tmp_path, "gt/bear_00000.png", LEFT.astype(np.uint8) * np.uint8(value))
        (sample,) = open_dataset("davis", tmp_path)
        assert sample.image_id == "bear_00000" and sample.ignore is None
        np.testing.assert_array_equal(sample.mask, LEFT)

    def test_sample__several_colored_objects_are_one(self, tmp_path):
        colors = np.zeros((4, 6, 3), np.uint8)
        colors[:, 0] = [128, 0, 0]
        colors[:, 1] = [0, 0, 64]
        save(tmp_path, "img/a.jpg", IMAGE)
        save(tmp_path, "gt/a.png", colors)
        np.testing.assert_array_equal(open_dataset("davis", tmp_path)[0].mask, LEFT)

    def test_sample__palette_with_transparency(self, tmp_path):
        save(tmp_path, "img/a.jpg", IMAGE)
        indexed = Image.fromarray(LEFT.astype(np.uint8)).convert("P")
        indexed.putpalette([0, 0, 0, 128, 0, 0])
        (tmp_path / "gt").mkdir()
        indexed.save(tmp_path / "gt" / "a.png", transparency=0)
        np.testing.assert_array_equal(open_dataset("davis", tmp_path)[0].mask, LEFT)
