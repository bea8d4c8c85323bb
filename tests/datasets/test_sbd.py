import numpy as np
import pytest
from scipy.io import savemat
from scipy.sparse import csc_matrix

from maskloop.datasets import open_dataset
from maskloop.errors import DatasetError
from tests.datasets.files import IMAGE, save

NUMBERS = np.array([[0, 1, 1, 2, 2, 255]] * 4, np.uint8)
BICYCLE, PERSON = 2, 15


def write(folder, name, numbers=NUMBERS, categories=(PERSON, BICYCLE)):
    """A file as the dataset has it: a struct of a matrix, cells of sparse matrices, and a column."""
    save(folder, f"img/{name}.jpg", IMAGE)
    boundaries = np.empty((len(categories), 1), dtype=object)
    for index in range(len(categories)):
        boundaries[index, 0] = csc_matrix(numbers == index + 1)
    truth = {
        "Segmentation": numbers,
        "Boundaries": boundaries,
        "Categories": np.array(categories, np.uint8)[:, None],
    }
    path = folder / "inst" / f"{name}.mat"
    path.parent.mkdir(exist_ok=True)
    savemat(path, {"GTinst": truth}, do_compression=True)


@pytest.fixture
def root(tmp_path):
    write(tmp_path, "2008_000002")
    write(tmp_path, "2008_000003", np.minimum(NUMBERS, 1), (20,))
    (tmp_path / "train.txt").write_text("2008_000003\n")
    (tmp_path / "val.txt").write_text("2008_000002\n")
    return tmp_path


def test_open_sbd__one_sample_an_instance(root):
    samples = open_dataset("sbd", root, split="val")
    assert [sample.image_id for sample in samples] == ["2008_000002#1", "2008_000002#2"]
    assert [sample.category for sample in samples] == ["person", "bicycle"]
    np.testing.assert_array_equal(samples[1].mask, NUMBERS == 2)
    np.testing.assert_array_equal(samples[1].ignore, NUMBERS == 255)
    assert samples[0].image is samples[1].image


def test_open_sbd__splits(root):
    assert [sample.category for sample in open_dataset("sbd", root, split="train")] == ["tvmonitor"]
    assert len(open_dataset("sbd", root)) == 3
    with pytest.raises(DatasetError, match=r"split 'test'\. Splits here: train, val"):
        open_dataset("sbd", root, split="test")


def test_open_sbd__list_that_repeats_another(root):
    (root / "train_noval.txt").write_text("2008_000003\n")
    assert len(open_dataset("sbd", root)) == 3


def test_open_sbd__as_the_archive_unpacks(tmp_path):
    write(tmp_path / "dataset", "a")
    (tmp_path / "dataset" / "val.txt").write_text("a\n")
    assert len(open_dataset("sbd", tmp_path)) == 2


def test_open_sbd__instance_without_a_pixel(root):
    write(root, "2008_000002", np.where(NUMBERS == 1, 0, NUMBERS))
    assert [sample.category for sample in open_dataset("sbd", root, split="val")] == ["bicycle"]


def test_open_sbd__limit_reads_no_further(root):
    (root / "inst" / "2008_000002.mat").write_bytes(b"")
    assert len(open_dataset("sbd", root, limit=1)) == 1


def test_open_sbd__another_folder(tmp_path):
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(DatasetError, match=r"'img'.*'inst'.*'val\.txt'.*Found there: JPEGImages\."):
        open_dataset("sbd", tmp_path)


@pytest.mark.parametrize("content", [b"", b"no MATLAB file", b"MATLAB 5.0 MAT-file" + bytes(200)])
def test_open_sbd__damaged_file(content, root):
    (root / "inst" / "2008_000002.mat").write_bytes(content)
    with pytest.raises(DatasetError, match=r"2008_000002\.mat"):
        open_dataset("sbd", root, split="val")


def test_open_sbd__semantic_instead_of_instances(root):
    savemat(root / "inst" / "2008_000002.mat", {"GTcls": {"Segmentation": NUMBERS}})
    with pytest.raises(DatasetError, match="struct GTinst with Segmentation"):
        open_dataset("sbd", root, split="val")


@pytest.mark.parametrize("categories", [(PERSON,), (PERSON, 21), (PERSON, 0)])
def test_open_sbd__instance_of_no_category(categories, root):
    write(root, "2008_000002", categories=categories)
    with pytest.raises(DatasetError, match="a number of 1 to 20"):
        open_dataset("sbd", root, split="val")


def test_sample__image_missing(root):
    (root / "img" / "2008_000002.jpg").unlink()
    with pytest.raises(DatasetError, match=r"'2008_000002#1'.*2008_000002\.jpg"):
        open_dataset("sbd", root, split="val")[0]
