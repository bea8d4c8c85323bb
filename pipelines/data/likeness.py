"""Likeness: images that show the same, whatever was done to their bytes, by perceptual hash.

A hash is 144 bits in hexadecimal: which of the lowest frequencies of the gray image are strong, which
re-encoding, resizing and another brightness leave alone and a crop of a few percent changes little.
`docs/split.md` has the figures that `NEAR` was chosen by.
"""

from collections.abc import Sequence

import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image

from maskloop.images import decode_thumbnail

HASH_SIZE = 12
"""Frequencies a side."""
NEAR = 32
"""Hashes that differ in so many bits or fewer are of images that show the same."""
_PAIRS = 1 << 22
"""Pairs that are compared at once: some 100 MB."""

Words = npt.NDArray[np.uint64]


def perceptual_hash(data: bytes) -> str:
    """The hash of an encoded image.

    Raises:
        ImageError: the bytes are no readable image.
    """
    gray = Image.fromarray(decode_thumbnail(data, 4 * HASH_SIZE))
    return str(imagehash.phash(gray, HASH_SIZE))


def near_pairs(
    hashes: Sequence[str], others: Sequence[str], distance: int = NEAR
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Indices into `hashes` and `others` of the pairs that differ in at most `distance` bits."""
    if not len(hashes) or not len(others):
        return np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp)
    rows, cols = _words(hashes), _words(others)
    step = max(1, _PAIRS // len(others))
    found = []
    for start in range(0, len(rows), step):
        left, right = np.nonzero(_differing(rows[start : start + step], cols) <= distance)
        found.append((start + left, right))
    return np.concatenate([left for left, _ in found]), np.concatenate([right for _, right in found])


def is_near(hashes: Sequence[str], others: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Whether each of `hashes` is near any of `others`."""
    near = np.zeros(len(hashes), dtype=np.bool_)
    near[near_pairs(hashes, others)[0]] = True
    return near


def _words(hashes: Sequence[str]) -> Words:
    """Hashes as rows of 64-bit words, the last one filled up with zeros."""
    digits = -(-(HASH_SIZE**2) // 64) * 16
    data = bytes.fromhex("".join(text.zfill(digits) for text in hashes))
    return np.frombuffer(data, dtype=np.uint64).reshape(len(hashes), -1)


def _differing(rows: Words, cols: Words) -> npt.NDArray[np.uint8]:
    """The number of bits in which each row differs from each column, (R, C)."""
    bits = np.zeros((len(rows), len(cols)), dtype=np.uint8)
    for word in range(rows.shape[1]):
        bits += np.bitwise_count(rows[:, word, None] ^ cols[None, :, word])
    return bits
