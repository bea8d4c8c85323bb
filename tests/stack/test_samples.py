import cv2
import numpy as np
import pytest

from maskloop.errors import DatasetError
from maskloop.images import decode_image
from pipelines.data import samples


def test_load_samples() -> None:
    photos = samples.load_samples()

    assert len(photos) >= 12
    assert len({photo.name for photo in photos}) == len(photos)
    assert all(photo.objects for photo in photos)


@pytest.mark.parametrize("photo", samples.load_samples(), ids=lambda photo: photo.name)
def test_load_samples__outlines_lie_in_their_photo(photo: samples.SamplePhoto) -> None:
    height, width = decode_image(photo.image_bytes).shape[:2]

    for _, rings in photo.objects:
        points = np.concatenate([np.array(ring) for ring in rings])
        assert (points >= 0).all()
        assert (points <= (height - 1, width - 1)).all()


def test_load_samples__outline_separates_colours() -> None:
    """The flower is orange before green: its outline must fit to a pixel or so."""
    flower = next(photo for photo in samples.load_samples() if photo.name == "flower")
    image = decode_image(flower.image_bytes).astype(int)
    drawn = np.zeros(image.shape[:2], np.uint8)
    for ring in flower.objects[0].rings:
        cv2.fillPoly(drawn, [np.rint(np.array(ring)[:, ::-1]).astype(np.int32)], 1)
    orange = image[..., 0] > image[..., 2] + 20
    orange[365:] = False  # the second flower

    agreement = (orange & (drawn == 1)).sum() / (orange | (drawn == 1)).sum()

    assert agreement > 0.95


def test_load_samples__photo_is_missing(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(samples, "_package_folder", lambda package: tmp_path)

    with pytest.raises(DatasetError, match=r"sklearn holds no datasets/images/flower.jpg: run `make setup`"):
        samples.load_samples()
