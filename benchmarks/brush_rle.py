"""Label Studio's brush RLE: ours against `label_studio_sdk`'s, in one run, at 2048 x 2048.

python -m benchmarks.brush_rle
"""

import time
from collections.abc import Callable

import numpy as np
from label_studio_sdk.converter import brush

from maskloop.arrays import Mask
from maskloop.masks import decode_brush, encode_brush

SIDE = 2048
REPEATS = 5


def disc(radius: int) -> Mask:
    rows, columns = np.ogrid[:SIDE, :SIDE]
    inside: Mask = (rows - SIDE // 2) ** 2 + (columns - SIDE // 2) ** 2 <= radius**2
    return inside


def ragged() -> Mask:
    """A disc whose border is dissolved by noise: about 200,000 runs."""
    rows, columns = np.ogrid[:SIDE, :SIDE]
    distance = np.hypot(rows - SIDE // 2, columns - SIDE // 2)
    noise = np.random.default_rng(0).normal(scale=60, size=(SIDE, SIDE))
    frayed: Mask = distance + noise < 600
    return frayed


def seconds(call: Callable[[], object], repeats: int) -> float:
    """The fastest of several calls: the one that other processes disturbed least."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def row(name: str, mask: Mask) -> str:
    pixels = mask.astype(np.uint8) * 255
    rle = encode_brush(mask)
    if rle != brush.mask2rle(pixels) or not np.array_equal(decode_brush(rle, SIDE, SIDE), mask):
        raise SystemExit(f"{name}: the codecs do not agree.")
    encode = seconds(lambda: brush.mask2rle(pixels), 2), seconds(lambda: encode_brush(mask), REPEATS)
    decode = (
        seconds(lambda: brush.decode_rle(rle).reshape(SIDE, SIDE, 4)[:, :, 3] > 127, 2),
        seconds(lambda: decode_brush(rle, SIDE, SIDE), REPEATS),
    )
    columns = [
        f"{theirs * 1e3:>9.1f} {ours * 1e3:>7.1f} {theirs / ours:>6.0f}x" for theirs, ours in (encode, decode)
    ]
    return f"{name:<14} {len(rle):>9,} {columns[0]} {columns[1]}"


def main() -> None:
    print("milliseconds, SDK and ours          encode                    decode")
    for name, mask in (
        ("empty", np.zeros((SIDE, SIDE), dtype=bool)),
        ("disc r=60", disc(60)),
        ("disc r=600", disc(600)),
        ("ragged", ragged()),
    ):
        print(row(name, mask), flush=True)


if __name__ == "__main__":
    main()
