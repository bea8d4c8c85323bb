import numpy as np
import pytest
from PIL import Image

from maskloop.datasets import open_dataset
from maskloop.errors import DatasetError
from tests.datasets.files import IMAGE, LEFT, save


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


class TestBerkeleyOddities:
    def test_sample__odd_levels_of_the_published_masks(self, tmp_path):
        """One mask of the set has pixels of 197 and 243; 128 is undecided as in GrabCut."""
        save(tmp_path, "images/a.png", IMAGE[:1])
        save(tmp_path, "masks/a.png", np.array([[0, 1, 128, 197, 243, 255]], np.uint8))
        (sample,) = open_dataset("berkeley", tmp_path)
        assert sample.mask.tolist() == [[False, True, False, True, True, True]]
        assert sample.ignore.tolist() == [[False, False, True, False, False, False]]


class TestCocoMVal:
    NAMES = ("cat01_000000063552", "hot dog06_000000283268", "hair drier04_000000178028")

    def write(self, root, names=NAMES):
        for name in names:
            save(root, f"img/{name}.jpg", IMAGE)
            save(root, f"gt/{name}.png", LEFT.astype(np.uint8) * 255)

    def test_open_dataset__category_of_the_name(self, tmp_path):
        self.write(tmp_path)
        samples = open_dataset("coco_mval", tmp_path)
        assert [sample.category for sample in samples] == ["cat", "hair drier", "hot dog"]
        np.testing.assert_array_equal(samples[0].mask, LEFT)

    def test_open_dataset__seen_and_unseen(self, tmp_path):
        self.write(tmp_path)
        seen, unseen = (open_dataset("coco_mval", tmp_path, split=split) for split in ("seen", "unseen"))
        assert [sample.category for sample in seen] == ["cat"]
        assert [sample.category for sample in unseen] == ["hair drier", "hot dog"]

    def test_open_dataset__names_without_category(self, tmp_path):
        self.write(tmp_path, ["one"])
        assert open_dataset("coco_mval", tmp_path)[0].category == ""
        with pytest.raises(DatasetError, match=r"split 'seen'\. Splits here: none"):
            open_dataset("coco_mval", tmp_path, split="seen")
