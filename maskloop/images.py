"""Images: encoded bytes to RGB pixels, upright, or an `ImageError` that says why not.

The bytes come from strangers, so only a few formats are tried, and the size is checked before any
pixel is decoded.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from maskloop.errors import ImageError

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
MAX_PIXELS = 64_000_000
MAX_SCANS = 100
"""Of a progressive JPEG; encoders make some 10. Each takes 60 ms at 64 megapixels and 95 bytes of a file."""

_TURNED = range(2, 9)  # the values of EXIF's orientation that are not upright

_MAX_TIFF_TAGS = 4096  # libtiff refuses more
_TIFF_BYTES = {1: 1, 3: 2, 4: 4, 6: 1, 8: 2, 9: 4, 16: 8, 17: 8}  # of a whole number, by its type in TIFF

Image.init()  # registers the plugins that FORMATS names

# What Pillow's plugins raise on damaged files, beside OSError.
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    struct.error,
)


def read_image(path: Path | str, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """Read an image file as (H, W, 3) uint8 RGB, EXIF orientation applied.

    Raises:
        ImageError: the file cannot be opened or is no image that `decode_image` accepts.
    """
    with _named(path):
        return decode_image(Path(path).read_bytes(), max_pixels)


def read_levels(path: Path | str, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.integer]:
    """Read a mask stored as an image, as (H, W) levels: of each pixel the highest channel, alpha left out.

    Raises:
        ImageError: the file cannot be opened or is no image that `decode_image` accepts.
    """
    with _named(path):
        image = _load(Path(path).read_bytes(), max_pixels)
    if image.mode.startswith("I"):  # levels above 255 are kept
        return np.asarray(image)
    levels: npt.NDArray[np.uint8] = np.asarray(image.convert("RGB")).max(axis=2)
    return levels


def decode_mask(data: bytes, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.bool_]:
    """Decode a mask stored as image bytes: (H, W) bool, true where a pixel is bright and opaque.

    Raises:
        ImageError: as `decode_image`.
    """
    image = np.asarray(_load(data, max_pixels).convert("RGBA"))
    mask: npt.NDArray[np.bool_] = (image[..., :3].max(axis=2) > 127) & (image[..., 3] > 127)
    return mask


def encode_mask(mask: npt.NDArray[np.bool_]) -> bytes:
    """A mask (H, W) as a PNG of one bit a pixel: white where it is true, transparent elsewhere."""
    image = Image.fromarray(mask.astype(np.uint8), mode="P")
    image.putpalette(bytes([255] * 6))
    buffer = BytesIO()
    image.save(buffer, format="PNG", bits=1, transparency=bytes([0, 255]), compress_level=1)
    return buffer.getvalue()


def write_mask(mask: npt.NDArray[np.bool_], path: Path) -> None:
    """Write a mask (H, W) as an image of 0 and 255; the format follows the file's name.

    Raises:
        ImageError: the name's format is unknown, or the file cannot be written.
    """
    try:
        Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    except (OSError, ValueError) as error:
        raise ImageError(
            f"Mask {str(path)!r} cannot be written: {error}. Name it like mask.png, in a folder that exists."
        ) from error


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """Decode image bytes to (H, W, 3) uint8 RGB, EXIF orientation applied.

    Transparent pixels are laid over white. Grayscale of 16 bits is scaled by its full range, as browsers show
    it; deeper grayscale by the range that occurs. Of an animation, the first frame is taken.

    Raises:
        ImageError: empty, unknown, damaged or truncated data, or more than `max_pixels` pixels.
    """
    return np.array(_rgb(_upright(_load(data, max_pixels))))


def decode_thumbnail(data: bytes, side: int, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """The image as (side, side) uint8 gray, squeezed; of a JPEG no more is decoded than that takes.

    Raises:
        ImageError: as `decode_image`.
    """
    image = _load(data, max_pixels, draft=2 * side)
    image = _rgb(_upright(image)).convert("L")
    return np.array(image.resize((side, side), Image.Resampling.LANCZOS))


@contextmanager
def _named(path: Path | str) -> Iterator[None]:
    """Put the file's name into what is said about it."""
    try:
        yield
    except OSError as error:
        raise ImageError(f"Image {str(path)!r} cannot be opened: {error.strerror}.") from error
    except ImageError as error:
        raise ImageError(f"Image {str(path)!r}: {error}") from error


def _load(data: bytes, max_pixels: int, draft: int = 0) -> Image.Image:
    """The image with its pixels; with `draft` at any size that leaves both sides that long."""
    if not data:
        raise ImageError("The image is empty (0 bytes).")
    image = _open(data)
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            f"The image has {width} x {height} pixels, more than the {max_pixels} accepted: scale it down."
        )
    _check_claims(image, data, max_pixels)
    try:
        if draft:
            image.draft(None, (draft, draft))
        image.load()
    except _DAMAGED as error:
        raise ImageError(f"The {image.format} image is damaged or truncated: {error}.") from error
    return image


def _check_claims(image: Image.Image, data: bytes, max_pixels: int) -> None:
    """Refuse small files that make a decoder take the memory or the time of a large one."""
    width, height = _largest_tile(data) if image.format == "TIFF" else (0, 0)
    if width * height > max_pixels:
        raise ImageError(
            f"The TIFF image has tiles of {width} x {height} pixels, more than the {max_pixels} accepted: "
            "save it with smaller ones."
        )
    # within a scan the two bytes of this marker do not occur
    scans = data.count(b"\xff\xda") if image.format in ("JPEG", "MPO") else 0
    if scans > MAX_SCANS:
        raise ImageError(f"The {image.format} image has {scans} scans, more than {MAX_SCANS}: save it anew.")


def _largest_tile(data: bytes) -> tuple[int, int]:
    """Width and length of a TIFF's tiles, 0 without tiles. A tile may be larger than the image.

    Of a tag that occurs twice, Pillow takes one value and the decoder below it the other, so this reads the
    directory by itself and takes the largest.
    """
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], order)

    # where a BigTIFF differs: the place of the directory, the width of its counts, and of an entry
    big = number(2, 2) == 43
    place, count_bytes, entry_bytes = (number(8, 8), 8, 20) if big else (number(4, 4), 2, 12)
    sides = {TiffImagePlugin.TILEWIDTH: 0, TiffImagePlugin.TILELENGTH: 0}
    for index in range(min(number(place, count_bytes), _MAX_TIFF_TAGS)):
        at = place + count_bytes + index * entry_bytes
        tag, size = number(at, 2), _TIFF_BYTES.get(number(at + 2, 2), 4)
        if tag in sides:
            sides[tag] = max(sides[tag], number(at + (12 if big else 8), size))
    return sides[TiffImagePlugin.TILEWIDTH], sides[TiffImagePlugin.TILELENGTH]


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        start = data[:8].hex(" ")
        raise ImageError(
            f"The {len(data)} bytes starting with {start} are no image in any of {', '.join(FORMATS)}."
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"The image is refused: {error}") from error
    except _DAMAGED as error:
        raise ImageError(f"The image's header is damaged: {error}.") from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) not in _TURNED:
            return image  # Pillow would copy it
        return ImageOps.exif_transpose(image)
    except _DAMAGED:  # unreadable EXIF: the pixels are still good
        return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
    elif image.mode in ("I", "F"):
        image = Image.fromarray(_stretch(np.asarray(image, dtype=np.float64)))
    if image.has_transparency_data:
        upper = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), upper).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _stretch(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    values = np.nan_to_num(values)
    values = values - values.min()
    scaled: npt.NDArray[np.float64] = values / max(values.max(), 1e-12) * 255
    return scaled.round().astype(np.uint8)
