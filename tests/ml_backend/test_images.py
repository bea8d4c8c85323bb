import asyncio
import base64

import numpy as np
import pytest

from maskloop.errors import ImageError
from ml_backend.errors import RequestError
from ml_backend.images import Images
from ml_backend.label_studio import LabelStudio
from tests.ml_backend.conftest import encode
from tests.ml_backend.fake_label_studio import LEGACY

PATH = "/data/upload/12/a.png"


def load(url: str, *addresses: str, **options) -> list[np.ndarray]:
    """Load addresses one after the other."""

    async def run() -> list[np.ndarray]:
        images = Images(LabelStudio(url, LEGACY), **options)
        try:
            return [await images.load(address) for address in addresses]
        finally:
            await images.close()

    return asyncio.run(run())


def test_load__fetched_once(label_studio, photo):
    label_studio.files[PATH] = encode(photo)
    first, second = load(label_studio.url, PATH, PATH)
    np.testing.assert_array_equal(first, photo)
    assert second is first
    assert len(label_studio.asked) == 1


def test_load__larger_than_the_cache(label_studio, photo):
    label_studio.files[PATH] = encode(photo)
    load(label_studio.url, PATH, PATH, cache_bytes=photo.nbytes - 1)
    assert len(label_studio.asked) == 2


def test_load__exif_orientation(label_studio, photo):
    label_studio.files[PATH] = encode(photo, "TIFF", orientation=6)
    (image,) = load(label_studio.url, PATH)
    np.testing.assert_array_equal(image, np.rot90(photo, k=-1))


def test_load__data_uri(photo):
    data = base64.b64encode(encode(photo)).decode()
    (image,) = load("", f"data:image/png;base64,{data}")
    np.testing.assert_array_equal(image, photo)


@pytest.mark.parametrize("address", ["data:image/png;base64", "data:image/png;base64,%%%", "data:;base64,A"])
def test_load__broken_data_uri(address):
    with pytest.raises(RequestError, match="data:"):
        load("", address)


@pytest.mark.parametrize(
    "address", ["s3://bucket/a.png", "gs://bucket/a.png", "file:///etc/passwd", "a.png", "ftp://x"]
)
def test_load__address_that_is_not_fetched(address):
    with pytest.raises(RequestError, match="pre-signed"):
        load("http://labels.example", address)


def test_load__no_image(label_studio):
    label_studio.files[PATH] = b"<html>"
    with pytest.raises(ImageError):
        load(label_studio.url, PATH)
