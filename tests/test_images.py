import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from maskloop.errors import ImageError
from maskloop.images import FORMATS, MAX_SCANS, decode_image, read_image, read_levels, write_mask

PIXELS = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[0, 0, 0], [90, 90, 90], [255, 255, 255]]], np.uint8
)


def encoded(image, kind="PNG", **options):
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["BMP", "GIF", "PNG", "TIFF"])
def test_decode_image__lossless_formats(kind):
    image = decode_image(encoded(Image.fromarray(PIXELS), kind))
    assert image.dtype == np.uint8 and image.flags.writeable
    np.testing.assert_array_equal(image, PIXELS)


@pytest.mark.parametrize("kind", ["JPEG", "MPO", "WEBP"])
def test_decode_image__lossy_formats(kind):
    gray = np.full((8, 16, 3), 77, np.uint8)
    image = decode_image(encoded(Image.fromarray(gray), kind))
    assert image.shape == (8, 16, 3)
    np.testing.assert_allclose(image, 77, atol=2)


# what undoes each EXIF orientation, from the EXIF standard's own words on where the first row and column lie
UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_decode_image__exif_orientation(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(PIXELS), kind, exif=exif)
    np.testing.assert_array_equal(decode_image(data), UPRIGHT[orientation](PIXELS))


def test_decode_image__unreadable_exif_leaves_the_pixels():
    gray = np.full((8, 16, 3), 77, np.uint8)
    data = encoded(Image.fromarray(gray), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\0\0")
    assert decode_image(data).shape == (8, 16, 3)


def test_decode_image__16_bit_grayscale_is_scaled_by_its_full_range():
    deep = np.array([[0, 257, 32896, 65535]], np.uint16)
    assert decode_image(encoded(Image.fromarray(deep)))[0, :, 0].tolist() == [0, 1, 128, 255]
    assert decode_image(encoded(Image.fromarray(deep), "TIFF"))[0, :, 1].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_decode_image__deeper_grayscale_is_scaled_by_the_range_that_occurs(dtype):
    deep = np.array([[-100, 0, 100]], dtype)
    assert decode_image(encoded(Image.fromarray(deep), "TIFF"))[0, :, 2].tolist() == [0, 128, 255]


@pytest.mark.filterwarnings("error")
def test_decode_image__flat_deep_grayscale():
    assert not decode_image(encoded(Image.fromarray(np.full((2, 2), 7, np.int32)), "TIFF")).any()


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr"])
def test_decode_image__modes(mode):
    white = Image.new("RGB", (3, 2), "white").convert(mode)
    np.testing.assert_array_equal(decode_image(encoded(white, "TIFF")), np.full((2, 3, 3), 255))


def test_decode_image__transparent_pixels_are_laid_over_white():
    image = Image.fromarray(np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 51]]], np.uint8))
    assert decode_image(encoded(image))[0].tolist() == [[255, 0, 0], [255, 255, 255], [204, 204, 204]]


def test_decode_image__transparent_palette():
    image = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    assert decode_image(encoded(image, transparency=0))[0].tolist() == [[255, 255, 255], [40, 50, 60]]


def test_decode_image__animation_gives_its_first_frame():
    frames = [Image.new("RGB", (2, 2), color) for color in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode_image(data)[0, 0].tolist() == [255, 0, 0]


def test_decode_image__empty():
    with pytest.raises(ImageError, match="empty"):
        decode_image(b"")


@pytest.mark.parametrize("data", [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", b"\0" * 100])
def test_decode_image__no_image(data):
    with pytest.raises(
        ImageError, match=f"{len(data)} bytes starting with {data[:3].hex(' ')}.*{FORMATS[0]}"
    ):
        decode_image(data)


def test_decode_image__format_not_in_the_list():
    with pytest.raises(ImageError, match="50 36 0a"):
        decode_image(encoded(Image.fromarray(PIXELS), "PPM"))


@pytest.mark.parametrize("kind", ["BMP", "JPEG", "PNG", "TIFF", "WEBP"])
def test_decode_image__truncated_anywhere(kind):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    for keep in range(1, len(data) * 9 // 10, max(1, len(data) // 97)):
        with pytest.raises(ImageError):
            decode_image(data[:keep])


@pytest.mark.parametrize("kind", ["BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP"])
def test_decode_image__damaged_bytes_give_an_image_or_an_image_error(kind):
    random = np.random.default_rng(1)
    good = encoded(Image.fromarray(PIXELS), kind)
    for _ in range(200):
        data = bytearray(good)
        for place in random.integers(0, len(data), 3):
            data[place] = random.integers(0, 256)
        try:
            image = decode_image(bytes(data), max_pixels=1_000_000)
        except ImageError:
            continue
        assert image.ndim == 3 and image.dtype == np.uint8


def test_decode_image__more_pixels_than_accepted():
    with pytest.raises(ImageError, match=r"3 x 2 pixels, more than the 5 accepted"):
        decode_image(encoded(Image.fromarray(PIXELS)), max_pixels=5)
    assert decode_image(encoded(Image.fromarray(PIXELS)), max_pixels=6).shape == (2, 3, 3)


@pytest.mark.parametrize("side", [9_000, 60_000])
def test_decode_image__decompression_bomb_is_refused_by_its_header(side):
    header = side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")
        for name, body in chunks
    )
    with pytest.raises(ImageError, match="pixels"):
        decode_image(data)


def tiled_tiff(order, big, sides, payload):
    """A gray TIFF of 10 x 10 pixels in one tile; `sides` are the entries of the tile's width and length."""
    short, long = (order + letter for letter in ("H", "Q" if big else "I"))
    tags = [(256, 10), (257, 10), (258, 8), (259, 8), (262, 1), (277, 1)]
    tags += sides
    count = len(tags) + 2
    start = 16 + 8 + 20 * count + 8 if big else 8 + 2 + 12 * count + 4
    tags += [(324, start), (325, len(payload))]
    head = struct.pack(order + "HHHQ", 43, 8, 0, 16) if big else struct.pack(order + "HI", 42, 8)
    body = struct.pack(long if big else short, count)
    for tag, value in tags:
        body += struct.pack(short, tag) + struct.pack(short, 16 if big else 4)
        body += struct.pack(long, 1) + struct.pack(long, value)
    return (b"II" if order == "<" else b"MM") + head + body + bytes(8 if big else 4) + payload


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
def test_decode_image__tile_larger_than_the_image(order, big):
    data = tiled_tiff(order, big, [(322, 1008), (323, 1024)], zlib.compress(bytes(1008 * 1024)))
    assert decode_image(data, max_pixels=1008 * 1024).shape == (10, 10, 3)
    with pytest.raises(ImageError, match=r"tiles of 1008 x 1024 pixels.*save it with smaller ones"):
        decode_image(data, max_pixels=1008 * 1024 - 1)


@pytest.mark.parametrize("order", [(1024, 16), (16, 1024)])
def test_decode_image__tile_whose_size_is_told_twice(order):
    sides = [(tag, value) for tag in (322, 323) for value in order]
    data = tiled_tiff("<", False, sides, zlib.compress(bytes(1024 * 1024)))
    with pytest.raises(ImageError, match="tiles of 1024 x 1024"):
        decode_image(data, max_pixels=100_000)


def test_decode_image__endless_scans():
    data = encoded(Image.new("L", (64, 64)), "JPEG", progressive=True)
    assert 1 < data.count(b"\xff\xda") <= MAX_SCANS
    last = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(ImageError, match=f"scans, more than {MAX_SCANS}"):
        decode_image(data[:-2] + last * MAX_SCANS + data[-2:])


@pytest.mark.parametrize("chunk", [b"zTXt", b"iCCP"])
def test_decode_image__compressed_text_bomb(chunk):
    good = encoded(Image.fromarray(PIXELS))
    body = b"a\0\0" + zlib.compress(bytes(50_000_000))
    bomb = struct.pack(">I", len(body)) + chunk + body + struct.pack(">I", zlib.crc32(chunk + body))
    with pytest.raises(ImageError, match="too large"):
        decode_image(good[:33] + bomb + good[33:])


def test_read_image__names_the_file(tmp_path):
    path = tmp_path / "photo.png"
    with pytest.raises(ImageError, match=r"photo\.png.*No such file"):
        read_image(path)
    with pytest.raises(ImageError, match="cannot be opened"):
        read_image(tmp_path)
    path.write_bytes(b"not a photo")
    with pytest.raises(ImageError, match=r"photo\.png.*11 bytes"):
        read_image(path)
    Image.fromarray(PIXELS).save(path)
    np.testing.assert_array_equal(read_image(path), PIXELS)


def test_read_levels__values_as_stored(tmp_path):
    levels = np.array([[0, 1, 128, 255]], np.uint8)
    gray = Image.fromarray(levels)
    opaque_nowhere = Image.merge("LA", (gray, Image.new("L", gray.size, 0)))
    indexed = gray.convert("P")
    for name, image, options in (
        ("gray.bmp", gray, {}),
        ("color.png", Image.merge("RGB", (Image.new("L", gray.size), gray, Image.new("L", gray.size))), {}),
        ("alpha.png", opaque_nowhere, {}),
        ("palette.png", indexed, {}),
        ("transparent.png", indexed, {"transparency": 0}),
    ):
        image.save(tmp_path / name, **options)
        assert read_levels(tmp_path / name).tolist() == levels.tolist(), name


def test_read_levels__two_levels_and_sixteen_bits(tmp_path):
    Image.fromarray(np.array([[False, True]])).save(tmp_path / "bits.png")
    assert read_levels(tmp_path / "bits.png").tolist() == [[0, 255]]
    Image.fromarray(np.array([[0, 1, 300]], np.uint16)).save(tmp_path / "deep.png")
    assert read_levels(tmp_path / "deep.png").tolist() == [[0, 1, 300]]


def test_write_mask__zeros_and_255(tmp_path):
    write_mask(np.array([[True, False]]), tmp_path / "mask.png")
    assert read_levels(tmp_path / "mask.png").tolist() == [[255, 0]]


@pytest.mark.parametrize("name", ["mask", "mask.doc", "nowhere/mask.png"])
def test_write_mask__name_that_cannot_be_written(name, tmp_path):
    with pytest.raises(ImageError, match=r"mask.*cannot be written.*mask\.png"):
        write_mask(np.array([[True]]), tmp_path / name)
