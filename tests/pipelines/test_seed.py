import hashlib

import numpy as np

from maskloop.images import decode_image
from pipelines.data.rendering import encode, render
from pipelines.data.samples import load_samples
from pipelines.data.seed import seed_images


def test_render__same_pixels_every_time():
    first, again, other = render(7), render(7), render(8)
    assert (first.image == again.image).all()
    assert (first.image != other.image).any()
    assert hashlib.sha256(first.image.tobytes()).hexdigest()[:16] == "dd955b6be21138aa", (
        "and on every machine"
    )


def test_render__objects_do_not_overlap():
    for seed in range(20):
        composite = render(seed)
        assert composite.image.shape == (192, 192, 3)
        assert sum(mask.astype(int) for mask in composite.masks).max() == 1
        assert all(mask.sum() >= 250 for mask in composite.masks)


def test_encode__keeps_every_pixel():
    image = render(3).image
    assert np.array_equal(decode_image(encode(image)), image)


def test_seed_images__photos_then_composites():
    images = list(seed_images(5))
    photos = len(load_samples())
    assert [image.source for image in images] == ["sample"] * photos + ["rendered"] * 5
    for image in images:
        height, width = decode_image(image.data).shape[:2]
        assert image.objects
        assert all(mask.shape == (height, width) and mask.any() for _, mask in image.objects)
