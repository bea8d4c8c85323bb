"""The split: decided once, by what images show."""

import random
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pandas as pd
import pytest

from maskloop.errors import ImageError
from pipelines.data import split
from pipelines.data.likeness import NEAR, is_near, near_pairs, perceptual_hash
from pipelines.data.seed import seed_images
from pipelines.data.shards import Row, write_shards
from pipelines.data.snapshot import Snapshot
from pipelines.data.split import ASIDE, COLUMNS, TEST, TRAIN, assign, place, read_splits, split_of
from pipelines.errors import SnapshotError
from tests.pipelines.pictures import TWINS, encoded, picture

NOTHING = pd.DataFrame(columns=COLUMNS, dtype="str")


def differing(bits):
    """A hash that differs from the one of no bits in `bits` bits."""
    return f"{(1 << bits) - 1:036x}"


def digest(kind, number=0):
    """A digest that on its own goes into `kind`, the lower the number the earlier in order."""
    return f"{0 if kind == TEST else 20:08x}{number:056x}"


def record(**rows):
    """Recorded images: name = (bits, split)."""
    return pd.DataFrame(
        [(name, differing(bits), f"group-{name}", side) for name, (bits, side) in rows.items()],
        columns=COLUMNS,
    )


class TestLikeness:
    def test_near_pairs__by_hand(self):
        hashes = [differing(0), differing(40)]
        others = [differing(NEAR), differing(NEAR + 1), differing(144)]
        pairs = list(zip(*(side.tolist() for side in near_pairs(hashes, others)), strict=True))
        assert pairs == [(0, 0), (1, 0), (1, 1)]
        assert is_near(hashes, [differing(NEAR + 1)]).tolist() == [False, True]

    def test_near_pairs__nothing_to_compare(self):
        assert [len(side) for side in near_pairs([], [differing(0)])] == [0, 0]
        assert is_near([differing(0)], []).tolist() == [False]

    def test_near_pairs__in_blocks_as_at_once(self, monkeypatch):
        generator = random.Random(0)
        hashes = [f"{generator.getrandbits(144):036x}" for _ in range(60)]
        whole = near_pairs(hashes, hashes, 66)
        expected = [
            (i, j)
            for i, one in enumerate(hashes)
            for j, other in enumerate(hashes)
            if (int(one, 16) ^ int(other, 16)).bit_count() <= 66
        ]
        assert list(zip(*whole, strict=True)) == expected
        monkeypatch.setattr("pipelines.data.likeness._PAIRS", 100)
        assert all(
            np.array_equal(*sides) for sides in zip(near_pairs(hashes, hashes, 66), whole, strict=True)
        )

    @pytest.mark.parametrize("change", TWINS)
    def test_perceptual_hash__twins_are_near(self, change):
        for seed in range(10):
            image = picture(seed)
            assert is_near([perceptual_hash(TWINS[change](image))], [perceptual_hash(encoded(image))])[0]

    def test_perceptual_hash__different_pictures_are_not(self):
        hashes = [perceptual_hash(encoded(picture(seed))) for seed in range(40)]
        assert len(near_pairs(hashes, hashes)[0]) == 40

    def test_perceptual_hash__turned_by_exif(self):
        image = picture(1)
        turned = image.transpose(5)  # as the camera holds it
        exif = turned.getexif()
        exif[0x0112] = 5
        data = encoded(turned, "JPEG", exif=exif)
        assert is_near([perceptual_hash(data)], [perceptual_hash(encoded(image))])[0]

    def test_perceptual_hash__large_jpeg(self):
        """It is not decoded in full, and yet is near the small one."""
        image = picture(2)
        large = encoded(image.resize((2000, 2000)), "JPEG")
        assert is_near([perceptual_hash(large)], [perceptual_hash(encoded(image))])[0]

    def test_perceptual_hash__no_image(self):
        with pytest.raises(ImageError, match="no image"):
            perceptual_hash(b"nothing")


class TestPlace:
    def test_split_of__share_and_stability(self):
        digests = [f"{random.Random(seed).getrandbits(256):064x}" for seed in range(2000)]
        assert sum(split_of(item, 20) == TEST for item in digests) / 2000 == pytest.approx(0.2, abs=0.03)
        assert split_of("00000013" + "0" * 56, 20) == TEST
        assert split_of("00000014" + "0" * 56, 20) == TRAIN

    @pytest.mark.parametrize("side", [TRAIN, TEST, ASIDE])
    def test_place__near_a_recorded_image(self, side):
        """The digest alone would say the other side."""
        other = digest(TRAIN if side == TEST else TEST)
        (row,) = place(record(known=(0, side)), {other: differing(NEAR)}, 20).itertuples()
        assert (row.split, row.group) == (side, "group-known")

    def test_place__just_too_far(self):
        (row,) = place(record(known=(0, TRAIN)), {digest(TEST): differing(NEAR + 1)}, 20).itertuples()
        assert (row.split, row.group) == (TEST, digest(TEST))

    def test_place__bridge_is_aside(self):
        known = record(one=(0, TRAIN), two=(50, TEST))
        rows = place(known, {digest(TEST): differing(25)}, 20)
        assert list(rows["split"]) == [ASIDE]

    def test_place__bridge_of_new_images(self):
        """Two images of which each is near one side, and which are near each other."""
        known = record(one=(0, TRAIN), two=(90, TEST))
        rows = place(known, {digest(TEST): differing(30), digest(TRAIN): differing(60)}, 20)
        assert list(rows["split"]) == [ASIDE, ASIDE]

    def test_place__new_images_stay_together(self):
        """A chain whose ends are not near goes where the first digest says."""
        new = {
            digest(TEST): differing(0),
            digest(TRAIN, 1): differing(30),
            digest(TRAIN, 2): differing(60),
            digest(TRAIN, 3): differing(100),
        }
        rows = place(NOTHING, new, 20)
        assert list(rows["split"]) == [TEST, TEST, TEST, TRAIN]
        assert list(rows["group"]) == [digest(TEST)] * 3 + [digest(TRAIN, 3)]

    def test_place__equal_hashes(self):
        """Blank images are all alike."""
        rows = place(NOTHING, {digest(TEST, number): differing(3) for number in range(3)}, 20)
        assert list(rows["group"]) == [digest(TEST)] * 3

    def test_place__replayed_image_trains(self):
        """Its digest says test, and so does that of the new image which is near it."""
        new = {digest(TEST): differing(0), digest(TEST, 1): differing(9), digest(TEST, 2): differing(100)}
        assert list(place(NOTHING, new, 20, {digest(TEST, 1)})["split"]) == [TRAIN, TRAIN, TEST]
        near_test = record(known=(0, TEST))
        assert list(place(near_test, new, 20, {digest(TEST, 1)})["split"]) == [TEST, TEST, TEST]

    def test_place__nothing_new(self):
        assert place(record(known=(0, TRAIN)), {}, 20).empty


def stored(root, *datas):
    """A snapshot with a mask on each of these images."""
    (root / "data/images").mkdir(parents=True, exist_ok=True)
    rows = []
    for number, data in enumerate(datas):
        name = sha256(data).hexdigest()
        (root / f"data/images/{name}.png").write_bytes(data)
        rows.append(Row(1, number, number, "a", "2026", 1, "Cell", 96, 96, "rle", name, "{}"))
    return Snapshot(version=1, shards=write_shards(root, "0001", rows))


class TestAssign:
    @pytest.fixture(autouse=True)
    def few_seeds(self, monkeypatch):
        composites = list(seed_images(4))[-4:]
        monkeypatch.setattr(split, "seed_images", lambda rendered: composites[:rendered])

    def test_assign__each_image_once(self, tmp_path):
        datas = [encoded(picture(seed)) for seed in range(12)]
        first = assign(tmp_path, stored(tmp_path, *datas[:8]), 30, rendered=2)
        assert len(read_splits(tmp_path, first)) == 10
        assert assign(tmp_path, first, 30, rendered=2) == first
        second = assign(tmp_path, replace(stored(tmp_path, *datas), version=2, splits=first.splits), 30, 2)
        assert len(second.splits) == 2
        splits = read_splits(tmp_path, second)
        assert splits["image_sha256"].is_unique and len(splits) == 14

    def test_assign__another_percentage_moves_nothing(self, tmp_path):
        first = assign(tmp_path, stored(tmp_path, *[encoded(picture(seed)) for seed in range(8)]), 0)
        assert set(read_splits(tmp_path, first)["split"]) == {TRAIN}
        second = assign(tmp_path, first, 100, rendered=2)
        splits = read_splits(tmp_path, second)["split"].value_counts()
        assert splits.to_dict() == {TRAIN: 8, TEST: 2}

    def test_assign__files_are_never_written_again(self, tmp_path):
        """Nothing was collected since, but the seed set has grown: the record gets a version of its own."""
        first = assign(tmp_path, stored(tmp_path, encoded(picture(0))), 20)
        second = assign(tmp_path, first, 20, rendered=4)
        assert [shard.name for shard in second.splits] == ["part-0001-0.parquet", "part-0002-0.parquet"]
        assert second.splits[0] == first.splits[0] and second.version == 2

    def test_assign__labelled_twin_of_a_seed_image(self, tmp_path):
        from PIL import Image

        from maskloop.images import decode_image

        seed = next(iter(split.seed_images(1)))
        twin = encoded(Image.fromarray(decode_image(seed.data)), "JPEG", quality=70)
        for percent, side in ((0, TRAIN), (100, TEST)):
            root = tmp_path / side
            first = assign(root, Snapshot(), percent, rendered=1)
            later = replace(stored(root, twin), splits=first.splits)
            splits = read_splits(root, assign(root, later, 100 - percent, rendered=1))
            assert splits.set_index("image_sha256")["split"][sha256(twin).hexdigest()] == side

    def test_assign__image_is_lost(self, tmp_path):
        snapshot = stored(tmp_path, encoded(picture(0)))
        for path in (tmp_path / "data/images").iterdir():
            path.write_bytes(b"other")
        with pytest.raises(SnapshotError, match="dvc checkout"):
            assign(tmp_path, snapshot, 20)

    def test_assign__only_new_images_are_decoded(self, tmp_path, monkeypatch):
        first = assign(tmp_path, stored(tmp_path, encoded(picture(0)), encoded(picture(1))), 20, rendered=1)
        hashed = []
        monkeypatch.setattr(split, "perceptual_hash", lambda data: hashed.append(data) or differing(0))
        new = encoded(picture(2))
        later = stored(tmp_path, encoded(picture(0)), encoded(picture(1)), new)
        assign(tmp_path, replace(later, version=2, splits=first.splits), 20, rendered=1)
        assert hashed == [new]
