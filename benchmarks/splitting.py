"""How well near-duplicates are found: what a perceptual hash misses and what it wrongly takes for the same.

python -m benchmarks.splitting DATA [--limit 2500] [--images 300] [--sheet PAIRS.png]

Each image of DATA (Parquet files), or `limit` of them, is compared with every other one, and `images` of them
with copies of themselves. Then the time that it takes to find near hashes among many.
"""

import random
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections import defaultdict
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageEnhance

from pipelines.data.likeness import HASH_SIZE, NEAR, near_pairs, perceptual_hash

DISTANCES = (8, 16, 24, 28, 32, 36, 40, 44)
SIDE = 160
"""Height of the pictures on the sheet of pairs, pixels."""


def encoded(image: Image.Image, kind: str, quality: int = 90) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, quality=quality)
    return buffer.getvalue()


def copies(image: Image.Image, generator: random.Random) -> Iterator[tuple[str, bytes]]:
    """What happens to photos on their way, by name."""
    yield "JPEG of quality 50", encoded(image, "JPEG", 50)
    yield "WebP of quality 80", encoded(image, "WEBP", 80)
    for name, scale in (("half the size", 0.5), ("a quarter of it", 0.25)):
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        yield name, encoded(image.resize(size, Image.Resampling.LANCZOS), "JPEG")
    for percent in (2, 4, 6):
        yield f"{percent} % cropped", encoded(cropped(image, percent / 100, generator), "JPEG")
    for factor in (0.6, 0.8, 1.2, 1.4):
        yield f"brightness x {factor}", encoded(ImageEnhance.Brightness(image).enhance(factor), "JPEG")


def cropped(image: Image.Image, share: float, generator: random.Random) -> Image.Image:
    """A share of the width and of the height cut off, at either side."""
    left, top = (generator.random() * share * side for side in image.size)
    right, bottom = left + image.width * (1 - share), top + image.height * (1 - share)
    return image.crop((int(left), int(top), int(right), int(bottom)))


def bits_between(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


def measure_copies(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """Percent of the copies whose hash is farther than each distance, by kind of copy."""
    generator = random.Random(0)
    distances: dict[str, list[int]] = defaultdict(list)
    groups = table.groupby("source")
    for row in groups.sample(frac=min(1, count / len(table)), random_state=0).itertuples():
        with Image.open(BytesIO(row.image)) as image:
            for name, data in copies(image.convert("RGB"), generator):
                distances[name].append(bits_between(row.hash, perceptual_hash(data)))
    shares = {
        name: [100 * np.mean(np.array(found) > distance) for distance in DISTANCES]
        for name, found in distances.items()
    }
    return pd.DataFrame.from_dict(shares, orient="index", columns=list(DISTANCES)).round(1)


def measure_others(hashes: list[str]) -> tuple[pd.DataFrame, list[tuple[int, int]]]:
    """Pairs of different images within each distance, and which they are, the nearest first."""
    first, second = near_pairs(hashes, hashes, max(DISTANCES))
    pairs = [(int(one), int(other)) for one, other in zip(first, second, strict=True) if one < other]
    pairs.sort(key=lambda pair: bits_between(hashes[pair[0]], hashes[pair[1]]))
    bits = np.array([bits_between(hashes[one], hashes[other]) for one, other in pairs])
    counts = {distance: int((bits <= distance).sum()) for distance in DISTANCES}
    rows = {"pairs within": counts, "images with one": {}}
    for distance in DISTANCES:
        near = [pair for pair, between in zip(pairs, bits, strict=True) if between <= distance]
        rows["images with one"][distance] = len(set(sum(near, ())))
    return pd.DataFrame.from_dict(rows, orient="index"), pairs


def draw_sheet(table: pd.DataFrame, pairs: list[tuple[int, int]], path: Path) -> None:
    """Pairs side by side, the nearest first, with their distance, for a person to judge."""
    sheet = Image.new("RGB", (4 * 3 * SIDE, SIDE * -(-len(pairs) // 4)), "white")
    for place, pair in enumerate(pairs):
        for number, index in enumerate(pair):
            with Image.open(BytesIO(table["image"].iloc[index])) as image:
                small = image.convert("RGB")
                small.thumbnail((int(1.4 * SIDE), SIDE))
                sheet.paste(small, ((place % 4) * 3 * SIDE + number * int(1.45 * SIDE), place // 4 * SIDE))
    sheet.save(path)


def measure_search(count: int) -> float:
    """Seconds to find the near ones of as many random hashes."""
    generator = random.Random(0)
    hashes = [f"{generator.getrandbits(HASH_SIZE**2):036x}" for _ in range(count)]
    started = time.process_time()
    near_pairs(hashes, hashes)
    return time.process_time() - started


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="Parquet file, or a folder of them")
    parser.add_argument(
        "--limit", type=int, help="different images, spread over the sources; all when not given"
    )
    parser.add_argument("--images", type=int, default=300, help="images that copies are made of")
    parser.add_argument("--sheet", type=Path, help="where the pairs within the distance are drawn")
    given = parser.parse_args()
    files = sorted(given.data.glob("*.parquet")) if given.data.is_dir() else [given.data]
    table = pd.concat(
        [pd.read_parquet(file, columns=["source", "image"]) for file in files], ignore_index=True
    )
    if given.limit and given.limit < len(table):
        table = table.sample(given.limit, random_state=0).reset_index(drop=True)
    started = time.process_time()
    table["hash"] = [perceptual_hash(data) for data in table["image"]]
    spent = time.process_time() - started
    print(f"{len(table)} images hashed, {1000 * spent / len(table):.1f} ms of a core each\n", flush=True)
    counts, pairs = measure_others(list(table["hash"]))
    print(
        f"different images, {len(table) * (len(table) - 1) // 2} pairs, by bits of {HASH_SIZE**2}\n{counts}\n"
    )
    print(f"copies that are missed, percent\n{measure_copies(table, given.images).to_string()}\n", flush=True)
    for count in (1_000, 10_000):
        print(f"near ones among {count} hashes: {measure_search(count):.1f} s of a core", flush=True)
    if given.sheet:
        hashes = list(table["hash"])
        draw_sheet(
            table, [pair for pair in pairs if bits_between(*(hashes[i] for i in pair)) <= NEAR], given.sheet
        )


if __name__ == "__main__":
    main()
