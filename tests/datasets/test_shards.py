import numpy as np
import pandas as pd
import pytest
import torch

from maskloop.corpus import Corpus
from maskloop.datasets import Sample, open_dataset, shards, write_parquet
from maskloop.datasets.__main__ import main
from maskloop.errors import DatasetError
from maskloop.masks import encode_coco
from tests.datasets.files import IMAGE, LEFT, png, save


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
        decode = shards.decode_image
        monkeypatch.setattr(shards, "decode_image", lambda data: calls.append(1) or decode(data))
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


class TestWriteParquet:
    SCENE = np.tile(np.arange(0, 240, 8, dtype=np.uint8)[None, :, None], (40, 1, 3))
    HALF = np.zeros((40, 30), dtype=bool)
    HALF[:20] = True

    def samples(self, count=2):
        for number in range(count):
            yield Sample(f"a{number}", self.SCENE, self.HALF, None, "upper")
            yield Sample(f"a{number}#1", self.SCENE, ~self.HALF, None, "lower")

    def test_write_parquet__read_again(self, tmp_path):
        (file,) = write_parquet(self.samples(), tmp_path / "made", "made", split="val")
        assert file.name == "made-00.parquet"
        assert list(pd.read_parquet(file)["source"]) == ["made", "made"]
        again = open_dataset("parquet", tmp_path / "made", split="val")
        assert [sample.image_id for sample in again] == ["a0", "a0#1", "a1", "a1#1"]
        assert [sample.category for sample in again[:2]] == ["upper", "lower"]
        np.testing.assert_array_equal(again[3].mask, ~self.HALF)
        assert np.abs(again[0].image.astype(int) - self.SCENE).max() < 16

    def test_write_parquet__trains(self, tmp_path):
        write_parquet(self.samples(), tmp_path, "made")
        scene = Corpus.read(tmp_path).draw(torch.Generator().manual_seed(0))
        assert scene.image.shape == (3, 40, 30) and [len(scene.masks), *scene.masks[1].shape] == [2, 40, 30]

    def test_write_parquet__several_shards(self, tmp_path, monkeypatch):
        monkeypatch.setattr(shards, "ROWS_PER_SHARD", 3)
        monkeypatch.setattr(shards, "ROWS_PER_GROUP", 2)
        files = write_parquet(self.samples(7), tmp_path, "made")
        assert [len(pd.read_parquet(file)) for file in files] == [3, 3, 1]
        assert [sample.image_id for sample in open_dataset("parquet", tmp_path)][::2] == [
            f"a{number}" for number in range(7)
        ]

    def test_write_parquet__never_over_other_shards(self, tmp_path):
        write_parquet(self.samples(), tmp_path, "made")
        with pytest.raises(DatasetError, match="holds shards of 'made' already"):
            write_parquet(self.samples(1), tmp_path, "made")

    def test_write_parquet__no_samples(self, tmp_path):
        with pytest.raises(DatasetError, match="no sample to write"):
            write_parquet([], tmp_path, "made")

    def test_main__writes_what_training_reads(self, tmp_path, monkeypatch, capsys):
        save(tmp_path, "davis/img/a.png", np.repeat(self.SCENE, 2, axis=1))
        save(tmp_path, "davis/gt/a.png", np.repeat(self.HALF, 2, axis=1).astype(np.uint8))
        arguments = ["davis", tmp_path / "davis", tmp_path / "out", "--source", "video"]
        monkeypatch.setattr("sys.argv", ["maskloop.datasets", *map(str, arguments)])
        main()
        assert capsys.readouterr().out.strip() == str(tmp_path / "out" / "video-00.parquet")
        assert len(Corpus.read(tmp_path / "out", shares={"video": 1.0})) == 1
