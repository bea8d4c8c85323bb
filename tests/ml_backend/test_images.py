import asyncio
import base64
import hashlib
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from maskloop.errors import ImageError
from ml_backend import images as images_module
from ml_backend.errors import RequestError, UnavailableImageError, UnreachableError
from ml_backend.images import Images, LoadedImage, decode_untrusted
from ml_backend.label_studio import LabelStudio
from tests.ml_backend.conftest import encode
from tests.ml_backend.fake_label_studio import LEGACY, presigned

PATH = "/data/upload/12/a.png"


def converse(url: str, conversation, max_bytes: int = 2**20, **options):
    """Run a conversation with the images of a Label Studio."""

    async def run():
        images = Images(LabelStudio(url, LEGACY, max_bytes=max_bytes, back_off_seconds=0.01), **options)
        try:
            return await conversation(images)
        finally:
            await images.close()

    return asyncio.run(run())


def load(url: str, *addresses: str, task: int | None = None, **options) -> list[LoadedImage]:
    """Load addresses one after the other."""

    async def conversation(images: Images) -> list[LoadedImage]:
        return [await images.load(address, task) for address in addresses]

    return converse(url, conversation, **options)


def asked(label_studio) -> list[str]:
    return [path for path, _ in label_studio.asked]


def test_load__fetched_once(label_studio, photo):
    label_studio.files[PATH] = encode(photo)
    told = []
    first, second = load(label_studio.url, PATH, PATH, on_cache=told.append)
    np.testing.assert_array_equal(first.pixels, photo)
    assert first.sha256 == hashlib.sha256(encode(photo)).hexdigest()
    assert first.nbytes == photo.nbytes
    assert second is first
    assert asked(label_studio) == [PATH]
    assert told == [False, True]


def test_load__equal_files_are_decoded_once(label_studio, photo):
    label_studio.files |= {PATH: encode(photo), "/b.png": encode(photo)}
    first, second = load(label_studio.url, PATH, "/b.png")
    assert second is first


def test_load__address_is_asked_again_after_a_while(label_studio, photo):
    async def conversation(images: Images) -> list[LoadedImage]:
        loaded = []
        for pixels in (photo, photo, 255 - photo):
            label_studio.files[PATH] = encode(pixels)
            loaded.append(await images.load(PATH))
        return loaded

    first, same, other = converse(label_studio.url, conversation, fresh_seconds=0.0)
    assert same is first  # asked again, and not decoded again
    np.testing.assert_array_equal(other.pixels, 255 - photo)
    assert len(label_studio.asked) == 3


def test_load__addresses_remembered_are_bounded(label_studio, photo, monkeypatch):
    monkeypatch.setattr(images_module, "MAX_ADDRESSES", 2)
    paths = [f"/{name}.png" for name in "abc"]
    label_studio.files |= dict.fromkeys(paths, encode(photo))
    load(label_studio.url, *paths, paths[2], paths[1], paths[0])
    assert asked(label_studio) == [*paths, paths[0]]


def test_load__larger_than_the_cache(label_studio, photo):
    label_studio.files[PATH] = encode(photo)
    load(label_studio.url, PATH, PATH, cache_bytes=photo.nbytes - 1)
    assert len(label_studio.asked) == 2


def test_load__cache_full(label_studio, photo):
    label_studio.files |= {PATH: encode(photo), "/b.png": encode(255 - photo)}
    load(label_studio.url, PATH, "/b.png", PATH, PATH, cache_bytes=photo.nbytes)
    assert asked(label_studio) == [PATH, "/b.png", PATH]


def test_load__cloud_storage_of_two_projects(label_studio, photo):
    """Two projects may have storages whose buckets have one name and lie at two hosts."""
    label_studio.files[presigned(1, "s3://bucket/a.png")] = encode(photo)
    label_studio.files[presigned(2, "s3://bucket/a.png")] = encode(255 - photo)

    async def conversation(images: Images) -> list[LoadedImage]:
        return [await images.load("s3://bucket/a.png", task) for task in (1, 2, 1)]

    first, other, again = converse(label_studio.url, conversation)
    np.testing.assert_array_equal(other.pixels, 255 - photo)
    assert again is first
    assert len(label_studio.asked) == 2


# Loads at the same time


def test_load__at_the_same_time_is_done_once(label_studio, photo):
    label_studio.files[PATH] = encode(photo)

    async def conversation(images: Images) -> list[LoadedImage]:
        return await asyncio.gather(*[images.load(PATH) for _ in range(20)])

    loaded = converse(label_studio.url, conversation)
    assert all(image is loaded[0] for image in loaded)
    assert len(label_studio.asked) == 1


def test_load__first_caller_goes_away(label_studio, photo):
    label_studio.files[PATH] = encode(photo)
    label_studio.opened.clear()

    async def conversation(images: Images) -> LoadedImage:
        first = asyncio.create_task(images.load(PATH))
        second = asyncio.create_task(images.load(PATH))
        await asyncio.sleep(0.05)
        first.cancel()
        label_studio.opened.set()
        with pytest.raises(asyncio.CancelledError):
            await first
        return await second

    np.testing.assert_array_equal(converse(label_studio.url, conversation).pixels, photo)
    assert len(label_studio.asked) == 1


def test_load__all_callers_go_away(label_studio, photo):
    label_studio.files[PATH] = encode(photo)
    label_studio.opened.clear()

    async def conversation(images: Images) -> LoadedImage:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(images.load(PATH), 0.05)
        label_studio.opened.set()
        return await images.load(PATH)

    np.testing.assert_array_equal(converse(label_studio.url, conversation).pixels, photo)
    assert len(label_studio.asked) == 1


def test_load__failure_is_told_to_all_and_not_kept(label_studio, photo, caplog):
    async def conversation(images: Images) -> LoadedImage:
        failures = await asyncio.gather(*[images.load(PATH) for _ in range(3)], return_exceptions=True)
        assert [type(failure) for failure in failures] == [UnavailableImageError] * 3
        assert len(label_studio.asked) == 1
        label_studio.files[PATH] = encode(photo)
        return await images.load(PATH)

    np.testing.assert_array_equal(converse(label_studio.url, conversation).pixels, photo)
    assert "never retrieved" not in caplog.text


def test_close__while_loading(label_studio, photo):
    label_studio.files[PATH] = encode(photo)
    label_studio.opened.clear()

    async def run() -> None:
        images = Images(LabelStudio(label_studio.url, LEGACY))
        loading = asyncio.create_task(images.load(PATH))
        await asyncio.sleep(0.05)
        await images.close()
        with pytest.raises(asyncio.CancelledError):
            await loading

    asyncio.run(run())


def test_load_ahead__is_neither_hit_nor_miss(label_studio, photo):
    label_studio.files[PATH] = encode(photo)
    told = []

    async def conversation(images: Images) -> None:
        ahead = await images.load_ahead(PATH)
        assert await images.load_ahead(PATH) is ahead
        assert told == []
        assert await images.load(PATH) is ahead

    converse(label_studio.url, conversation, on_cache=told.append)
    assert told == [True]


# What is fetched


def test_load__exif_orientation(label_studio, photo):
    label_studio.files[PATH] = encode(photo, "TIFF", orientation=6)
    (image,) = load(label_studio.url, PATH)
    np.testing.assert_array_equal(image.pixels, np.rot90(photo, k=-1))


def test_load__data_uri(photo):
    data = base64.b64encode(encode(photo)).decode()
    first, second = load("", *[f"data:image/png;base64,{data}"] * 2)
    np.testing.assert_array_equal(first.pixels, photo)
    assert second is first


@pytest.mark.parametrize("address", ["data:image/png;base64", "data:image/png;base64,%%%", "data:;base64,A"])
def test_load__broken_data_uri(address):
    with pytest.raises(RequestError, match="data:"):
        load("", address)


def test_load__data_uri_too_large(photo):
    data = base64.b64encode(encode(photo)).decode()
    with pytest.raises(UnavailableImageError, match="more than 50 bytes"):
        load("", f"data:image/png;base64,{data}", max_bytes=50)


@pytest.mark.parametrize("address", ["file:///etc/passwd", "a.png", "ftp://x"])
def test_load__address_that_is_not_fetched(address):
    with pytest.raises(RequestError, match="not one that is fetched"):
        load("http://labels.example", address)


def test_load__label_studio_down():
    with pytest.raises(UnreachableError, match="Is it running"):
        load("http://127.0.0.1:9", PATH)


@pytest.mark.parametrize("data", [b"<html>", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\x80\x04K\x01."])
def test_load__no_image_whatever_its_name(label_studio, data):
    label_studio.files[PATH] = data
    label_studio.headers[PATH] = {"Content-Type": "image/png"}
    with pytest.raises(ImageError, match="no image in any of"):
        load(label_studio.url, PATH)


def test_load__image_of_another_name(label_studio, photo):
    label_studio.files["/data/upload/12/a.txt"] = encode(photo)
    label_studio.headers["/data/upload/12/a.txt"] = {"Content-Type": "text/html"}
    (image,) = load(label_studio.url, "/data/upload/12/a.txt")
    np.testing.assert_array_equal(image.pixels, photo)


def test_load__too_many_pixels(label_studio, photo):
    label_studio.files[PATH] = encode(photo)
    with pytest.raises(ImageError, match="64 x 48 pixels, more than the 3071 accepted"):
        load(label_studio.url, PATH, max_pixels=48 * 64 - 1)
    load(label_studio.url, PATH, max_pixels=48 * 64)


# Small files that ask for much: `tests/test_images.py` has those that the decoder itself refuses.


def flat_png(side: int) -> bytes:
    """A true image of one colour: some kilobytes for hundreds of megapixels."""
    rows = zlib.compressobj(9)
    row = bytes(1 + side)
    data = b"".join(rows.compress(row) for _ in range(side)) + rows.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    )


def flat_webp(side: int) -> bytes:
    """A lossless WebP of one colour: its 34 bytes say nothing but the size."""
    sizes = (side - 1) | (side - 1) << 14
    body = b"VP8L" + struct.pack("<I", 13) + b"\x2f" + struct.pack("<I", sizes) + b"\x88\x88\x08" + bytes(6)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


@pytest.mark.parametrize("bomb", [flat_png(8001), flat_webp(8001), flat_webp(16383)])
def test_load__bomb(label_studio, bomb, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("pixels were decoded"))
    label_studio.files[PATH] = bomb
    assert len(bomb) < 100_000
    with pytest.raises(ImageError, match="pixels"):
        load(label_studio.url, PATH)


def test_decode_untrusted__more_memory_than_there_is(monkeypatch, photo):
    def fail(*_) -> None:
        raise MemoryError

    monkeypatch.setattr(images_module, "decode_image", fail)
    with pytest.raises(ImageError, match="more memory than there is"):
        decode_untrusted(encode(photo))
