"""Masks: between pixels and the forms that travel: Label Studio's brush, COCO run lengths and shapes.

A mask is (H, W) bool. Shapes use the coordinates of the whole project, (row, col) with whole numbers at
pixel centres: pixel i covers i - 0.5 to i + 0.5. A pixel belongs to a shape when its centre lies inside. A
centre on a polygon's border belongs if that is an upper or left border, so that neighbours share no pixel.

Label Studio's brush is the rle-pack format of thi.ng/umbrella, a stream of bits, highest bit first:

    count of values, 32 | word size - 1, 5 | four length sizes - 1, 4 each | tokens | zeros up to a whole byte
    token: 1 | which length size, 2 | length - 1 | word               a run: one word repeated
           0 | which length size, 2 | length - 1 | that many words    literal words

The values are RGBA, row by row. The editor smooths its strokes; a pixel is in the mask from alpha 128 on.
"""

from collections.abc import Sequence
from typing import TypedDict

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from maskloop.arrays import Mask
from maskloop.errors import MaskError
from maskloop.runs import Integers, Runs, check_mask

Ring = npt.NDArray[np.float64]  # (N, 2): corners as (row, col), the last joined to the first

CHANNELS = 4
HEADER_BITS = 53
LENGTH_SIZES = np.array([3, 4, 8, 16])
WORD_SIZE = 8


class CocoRle(TypedDict):
    """COCO's compressed run lengths: size is [height, width]."""

    size: list[int]
    counts: str


# Label Studio's brush


def encode_brush(mask: Mask | Runs) -> list[int]:
    """Encode a mask as Label Studio's brush RLE, byte for byte what `label_studio_sdk` makes of it.

    Raises:
        MaskError: the mask has no pixels or not two dimensions.
    """
    runs = mask if isinstance(mask, Runs) else Runs.of(mask)
    lengths = np.diff(runs.ends, prepend=0) * CHANNELS
    words = np.where(runs.filled, 255, 0)
    return list(_pack(runs.height * runs.width * CHANNELS, *_tokens(lengths, words)))


def _tokens(lengths: Integers, words: Integers) -> tuple[Integers, Integers]:
    """Runs as tokens and the number of bits of each; a run too long for one token becomes several."""
    longest = 1 << LENGTH_SIZES[-1]
    pieces = -(-lengths // longest)
    which = np.repeat(np.searchsorted(1 << LENGTH_SIZES[:-1], lengths), pieces)
    piece_lengths = np.full(len(which), longest)
    piece_lengths[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * longest
    sizes = LENGTH_SIZES[which]
    heads = ((4 | which) << sizes) | (piece_lengths - 1)
    return (heads << WORD_SIZE) | np.repeat(words, pieces), 3 + sizes + WORD_SIZE


def _pack(count: int, tokens: Integers, widths: Integers) -> bytes:
    """The header and the tokens as one stream; as in the SDK, one that ends on a whole byte gets one more."""
    ends = HEADER_BITS + np.cumsum(widths)
    starts = ends - widths
    stream = np.zeros(ends[-1] // 8 + 5, dtype=np.uint8)
    stream[:7] = np.frombuffer(_header(count), dtype=np.uint8)
    # A token is 14 to 27 bits, so it lies within five bytes, and no two tokens start in the same byte.
    windows = tokens << (40 - widths - (starts & 7))
    places = starts >> 3
    for byte in range(5):
        stream[places + byte] |= (windows >> (32 - 8 * byte)).astype(np.uint8)
    return stream[: ends[-1] // 8 + 1].tobytes()


def _header(count: int) -> bytes:
    fields = (count << 5) | (WORD_SIZE - 1)
    for size in LENGTH_SIZES.tolist():
        fields = (fields << 4) | (size - 1)
    return (fields << 3).to_bytes(7, "big")


def decode_brush(rle: Sequence[int], height: int, width: int) -> Mask:
    """Decode Label Studio's brush RLE, from the SDK or from the editor, whose alpha has levels between.

    Raises:
        MaskError: `rle` is no list of bytes, is damaged, or is not of an image of this size.
    """
    return read_brush(rle, height, width).mask()


def read_brush(rle: Sequence[int], height: int, width: int) -> Runs:
    """The runs of a brush RLE; arguments and errors as for `decode_brush`, but no pixel is painted."""
    data = _bytes(rle)
    count, word_size, sizes = _read_header(data)
    if count != height * width * CHANNELS:
        raise MaskError(
            f"The brush RLE holds {count} values, but {width} x {height} pixels take"
            f" {height * width * CHANNELS}. Give the original_width and original_height stored beside it."
        )
    starts = _token_starts(data, word_size, sizes)
    lengths, levels = _read_tokens(data, starts, word_size, sizes)
    ends = np.cumsum(lengths)
    used = int(np.searchsorted(ends, count)) + 1  # what follows the last value is padding
    if used > len(ends) or ends[used - 1] != count:
        raise MaskError(
            f"The brush RLE of {len(data)} bytes is damaged or truncated: {count} values expected."
        )
    # Value 4k + 3 is the alpha of pixel k, so a run that ends before value e ends before pixel e // 4.
    return Runs(height, width, ends[:used] // CHANNELS, levels[:used] > 127)


def _bytes(rle: Sequence[int]) -> bytes:
    try:
        return bytes([*rle])
    except (TypeError, ValueError) as error:
        raise MaskError(f"A brush RLE is a list of whole numbers 0 to 255: {error}.") from error


def _read_header(data: bytes) -> tuple[int, int, Integers]:
    """Count of values, bits of a word, and the four bits of a length."""
    if len(data) * 8 < HEADER_BITS:
        raise MaskError(f"The brush RLE is truncated: {len(data)} bytes are shorter than its header of 7.")
    fields = int.from_bytes(data[:7], "big") >> 3
    sizes = np.array([(fields >> shift & 15) + 1 for shift in (12, 8, 4, 0)])
    word_size = (fields >> 16 & 31) + 1
    if word_size < WORD_SIZE:
        raise MaskError(f"The brush RLE has words of {word_size} bits, too few for alpha levels 0 to 255.")
    return fields >> 21, word_size, sizes


def _token_starts(data: bytes, word_size: int, sizes: Integers) -> Integers:
    """The bit at which each token starts.

    Where one starts is known only from the one before, so this is a loop. To keep it short, the width that a
    token would have is looked up for every bit beforehand, from the three bits there; 0 marks literal words.
    """
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8))
    kinds = bits[:-2] << 2 | bits[1:-1] << 1 | bits[2:]
    widths = np.append(np.zeros(4), 3 + sizes + word_size).astype(np.uint8)[kinds].tobytes()
    starts = []
    start = HEADER_BITS
    while start < len(widths):
        starts.append(start)
        start += widths[start] or _literal_width(data, start, word_size, sizes)
    if start > len(bits):
        starts.pop()  # an incomplete token: padding, or the data is truncated
    return np.array(starts, dtype=np.int64)


def _literal_width(data: bytes, start: int, word_size: int, sizes: Integers) -> int:
    first = start // 8
    window = int.from_bytes(data[first : first + 4].ljust(4, b"\0"), "big") << start % 8 & 0xFFFFFFFF
    size = int(sizes[window >> 29])
    length = (window >> (29 - size) & ((1 << size) - 1)) + 1
    return 3 + size + length * word_size


def _read_tokens(data: bytes, starts: Integers, word_size: int, sizes: Integers) -> tuple[Integers, Integers]:
    """Run length and word of every run; literal words count as runs of one."""
    padded = np.frombuffer(data + bytes(8), dtype=np.uint8)
    kinds = _read_bits(padded, starts, 3)
    which_sizes = sizes[kinds & 3]
    lengths = _read_bits(padded, starts + 3, which_sizes) + 1
    is_run = kinds >= 4
    words = np.where(is_run, 1, lengths)
    word_starts = np.repeat(starts + 3 + which_sizes - word_size * (np.cumsum(words) - words), words)
    word_starts += word_size * np.arange(len(word_starts))
    return np.repeat(np.where(is_run, lengths, 1), words), _read_bits(padded, word_starts, word_size)


def _read_bits(data: npt.NDArray[np.uint8], starts: Integers, widths: Integers | int) -> Integers:
    """Numbers of up to 32 bits, each from its own bit on; `data` ends in eight bytes to spare."""
    windows = (
        np.lib.stride_tricks.sliding_window_view(data, 8)[starts >> 3].view(">i8")[:, 0].astype(np.int64)
    )
    mask: Integers | int = (1 << np.asarray(widths)) - 1
    return windows >> (64 - widths - (starts & 7)) & mask


# COCO run lengths


def encode_coco(mask: Mask) -> CocoRle:
    """Encode a mask as COCO's compressed run lengths, with the counts as text that JSON and Parquet hold.

    Raises:
        MaskError: the mask has no pixels or not two dimensions.
    """
    rle = coco.encode(np.asfortranarray(check_mask(mask), dtype=np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode_coco(rle: CocoRle) -> Mask:
    """Decode COCO's compressed run lengths.

    Raises:
        MaskError: size or counts are missing, damaged, or do not fit each other.
    """
    coco_lengths(rle)
    size, counts = [int(side) for side in rle["size"]], rle["counts"].encode("ascii")
    return np.ascontiguousarray(coco.decode({"size": size, "counts": counts}), dtype=bool)


def coco_area(rle: CocoRle) -> int:
    """The number of pixels of COCO's compressed run lengths, which are not decoded for it.

    Raises:
        MaskError: as `decode_coco`.
    """
    return int(coco_lengths(rle)[1::2].sum())


def coco_lengths(rle: CocoRle) -> Integers:
    """The run lengths, from the first background on, down the columns.

    Raises:
        MaskError: as `decode_coco`.
    """
    try:
        height, width = (int(side) for side in rle["size"])
        counts = rle["counts"].encode("ascii")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MaskError(f"A COCO RLE is a size [height, width] and counts as text: {error!r}.") from error
    lengths = _read_counts(counts)
    if min(height, width) < 1 or lengths.min() < 0 or lengths.sum() != height * width:
        raise MaskError(
            f"The COCO RLE is damaged: its runs have {lengths.sum()} pixels, its size is {height} x {width}."
        )
    return lengths


def _read_counts(counts: bytes) -> Integers:
    """The run lengths of compressed counts, checked: pycocotools trusts what it is given.

    A number is written in digits of five bits, the lowest first, each as chr(48 + digit), plus 32 where more
    follow; from the fourth on it is the difference to the run before the last.
    """
    digits = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - 48
    if not len(digits) or digits.min() < 0 or digits.max() > 63 or digits[-1] & 32:
        raise MaskError(f"The COCO RLE's counts of {len(counts)} characters are damaged or truncated.")
    lasts = np.flatnonzero(digits & 32 == 0)
    firsts = np.append(0, lasts[:-1] + 1)
    if (lasts - firsts).max() > 6:
        raise MaskError("The COCO RLE's counts are damaged: a run is longer than any image.")
    places = np.arange(len(digits)) - np.repeat(firsts, lasts - firsts + 1)
    lengths = np.add.reduceat((digits & 31) << 5 * places, firsts)
    lengths -= np.where(digits[lasts] & 16, 32 << 5 * places[lasts], 0)
    lengths[1::2] = np.cumsum(lengths[1::2])
    lengths[2::2] = np.cumsum(lengths[2::2])
    return lengths


# Shapes


def polygon_to_mask(rings: Sequence[Ring], height: int, width: int) -> Mask:
    """Fill a polygon given by its rings, clipped to the image; what two rings enclose is a hole (even-odd).

    Raises:
        MaskError: a ring is not (N, 2) with at least three finite corners.
    """
    return polygon_to_runs(rings, height, width).mask()


def polygon_to_runs(rings: Sequence[Ring], height: int, width: int) -> Runs:
    """The runs of `polygon_to_mask`, without painting a pixel."""
    crossed: list[Integers] = [np.empty(0, dtype=np.int64)]
    for ring in rings:
        rows, columns = _crossings(_checked_ring(ring), height)
        crossed.append(rows * width + np.clip(np.ceil(columns), 0, width).astype(np.int64))
    # inside and outside change where a border is crossed; the end of a row is the start of the next
    places, times = np.unique(np.concatenate(crossed), return_counts=True)
    changes = places[times % 2 == 1]
    size = height * width
    ends = np.append(changes[(changes > 0) & (changes < size)], size)
    starts_inside = int(changes.size > 0 and changes[0] == 0)
    return Runs(height, width, ends, (np.arange(len(ends)) + starts_inside) % 2 == 1)


def _crossings(ring: Ring, height: int) -> tuple[Integers, Ring]:
    """Where the ring crosses the centre lines of rows: the row and the column of each crossing."""
    ends = np.roll(ring, -1, axis=0)
    top = np.clip(np.ceil(np.minimum(ring[:, 0], ends[:, 0])), 0, height).astype(np.int64)
    bottom = np.clip(np.ceil(np.maximum(ring[:, 0], ends[:, 0])), 0, height).astype(np.int64)
    counts = bottom - top
    edges = np.repeat(np.arange(len(ring)), counts)
    rows = np.arange(len(edges)) + np.repeat(top - np.cumsum(counts) + counts, counts)
    from_row, from_column = ring[edges].T
    to_row, to_column = ends[edges].T
    return rows, from_column + (rows - from_row) * (to_column - from_column) / (to_row - from_row)


def mask_to_polygons(mask: Mask, tolerance: float = 0.0) -> list[list[Ring]]:
    """Trace a mask as polygons, one a connected piece: its outer ring first, then its holes.

    With tolerance 0, `polygon_to_mask` gives the same pixels back. A larger one, in pixels, is how far the
    rings may leave the border of the mask to have fewer corners.

    Raises:
        MaskError: the mask has no pixels or not two dimensions.
    """
    height, width = check_mask(mask).shape
    # On a lattice twice as fine, odd points are pixel centres and even ones lie on the borders of pixels.
    lattice = np.zeros((2 * height + 1, 2 * width + 1), dtype=np.uint8)
    lattice[1::2, 1::2] = mask
    covered = cv2.dilate(lattice, np.ones((3, 3), dtype=np.uint8))
    contours, hierarchy = cv2.findContours(covered, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    pieces: dict[int, list[Ring]] = {}
    for index, contour in enumerate(contours):
        parent = int(hierarchy[0, index, 3])
        ring = _simplified(contour, 2 * tolerance)[:, 0, ::-1] / 2 - 0.5
        pieces.setdefault(index if parent < 0 else parent, []).append(ring)
    return list(pieces.values())


def _simplified(contour: cv2.typing.MatLike, tolerance: float) -> cv2.typing.MatLike:
    if tolerance == 0:
        return contour
    fewer = cv2.approxPolyDP(contour, tolerance, True)
    return fewer if len(fewer) >= 3 else contour


def rectangle_to_mask(
    corner: tuple[float, float],
    size: tuple[float, float],
    height: int,
    width: int,
    rotation: float = 0.0,
) -> Mask:
    """Fill a rectangle from its upper left corner (row, col) and its size (height, width) in pixels.

    It is turned about that corner, by degrees clockwise.
    """
    turn = np.radians(rotation)
    across = size[1] * np.array([np.sin(turn), np.cos(turn)])
    down = size[0] * np.array([np.cos(turn), -np.sin(turn)])
    first = np.asarray(corner, dtype=np.float64)
    return polygon_to_mask(
        [np.stack([first, first + across, first + across + down, first + down])], height, width
    )


def ellipse_to_mask(
    centre: tuple[float, float],
    radii: tuple[float, float],
    height: int,
    width: int,
    rotation: float = 0.0,
) -> Mask:
    """Fill an ellipse from its centre (row, col) and its radii (down, across) in pixels.

    It is turned about its centre, by degrees clockwise.

    Raises:
        MaskError: a radius is not above 0.
    """
    if not min(radii) > 0:
        raise MaskError(f"The ellipse's radii {radii} must be above 0.")
    turn = np.radians(rotation)
    rows, columns = np.ogrid[:height, :width]
    down, across = rows - centre[0], columns - centre[1]
    along = across * np.cos(turn) + down * np.sin(turn)
    beside = down * np.cos(turn) - across * np.sin(turn)
    inside: Mask = (along / radii[1]) ** 2 + (beside / radii[0]) ** 2 <= 1
    return inside


def _checked_ring(ring: Ring) -> Ring:
    ring = np.asarray(ring, dtype=np.float64)
    if ring.ndim != 2 or ring.shape[1] != 2 or len(ring) < 3 or not np.isfinite(ring).all():
        raise MaskError(f"A ring is at least three finite (row, col) corners, not {ring.tolist()}.")
    return ring
