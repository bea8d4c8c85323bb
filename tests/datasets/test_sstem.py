import numpy as np
import pytest

from maskloop.datasets import open_dataset
from maskloop.errors import DatasetError
from tests.datasets.files import save

PIXELS = np.full((20, 30), 120, np.uint8)
MASK = np.zeros((20, 30), np.uint8)
MASK[2:8, 2:8] = 255
MASK[8:12, 8:12] = 255  # touches the first at a corner
MASK[14:19, 20:28] = 255
MASK[0, 29] = 255  # a slip of the pen


@pytest.fixture
def root(tmp_path):
    """Two stacks as published: TIFF beside PNG, other masks beside the mitochondria, no masks of stack 2."""
    save(tmp_path, "stack1/raw/00.tif", PIXELS)
    save(tmp_path, "stack1/raw/01.tif", PIXELS)
    save(tmp_path, "stack1/mitochondria/00.png", MASK)
    save(tmp_path, "stack1/membranes/00.png", 255 - MASK)
    save(tmp_path, "stack1/labels/labels00000000.png", MASK)
    save(tmp_path, "stack2/raw/00.tif", PIXELS)
    (tmp_path / "README.md").touch()
    return tmp_path


def test_open_sstem__one_sample_a_component(root):
    first, second = open_dataset("sstem", root)
    assert (first.image_id, second.image_id) == ("stack1/00#2", "stack1/00#3")  # 1 is the slip
    assert (first.mask.sum(), second.mask.sum()) == (36 + 16, 40)
    assert first.mask[2, 2] and first.mask[11, 11] and not first.mask[14:].any()
    assert first.category == "mitochondria"
    assert first.image.shape == (20, 30, 3) and first.image is second.image


def test_open_sstem__one_stack(root):
    assert open_dataset("sstem", root / "stack1")[0].image_id.startswith("00#")


def test_open_sstem__plain_images_and_masks_of_ones(tmp_path):
    save(tmp_path, "images/a.png", PIXELS)
    save(tmp_path, "masks/a.png", MASK // 255)
    assert len(open_dataset("sstem", tmp_path)) == 2


def test_open_sstem__folders_missing(root):
    with pytest.raises(DatasetError, match=r"of images \(raw, .*beside one of masks.*Found there: raw\."):
        open_dataset("sstem", root / "stack2")


def test_open_sstem__mask_without_image(root):
    save(root, "stack1/mitochondria/07.png", MASK)
    with pytest.raises(DatasetError, match=r"07\.png' needs an image '07'"):
        open_dataset("sstem", root)


def test_open_sstem__nothing_drawn(tmp_path):
    save(tmp_path, "images/a.png", PIXELS)
    save(tmp_path, "masks/a.png", MASK * 0)
    with pytest.raises(DatasetError, match="holds no object"):
        open_dataset("sstem", tmp_path)
