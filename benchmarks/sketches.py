"""How far the estimate of what a person changed is from the truth, and how long the sketch is.

    python -m benchmarks.sketches nuclei-00.parquet coco_mval-00.parquet

The first object of up to 150 images of each file is changed as a person would, three times: by strokes of a
brush, by a shift, by growing or shrinking it.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq

from maskloop import sketches
from maskloop.arrays import Mask
from maskloop.masks import decode_coco
from maskloop.regions import region_value
from maskloop.runs import Runs

IMAGES = 150
CELLS = (16, 24, 32, 64)
CHANGES = ("strokes", "shift", "grown or shrunk")


def objects(path: Path) -> Iterator[Mask]:
    table = pq.read_table(path, columns=["height", "width", "objects"]).slice(0, IMAGES)
    for row in table.to_pylist():
        for one in row["objects"][:1]:
            mask = decode_coco({"size": [row["height"], row["width"]], "counts": one["rle"]})
            if mask.any():
                yield mask


def changed(mask: Mask, change: str, generator: np.random.Generator) -> Mask:
    drawn = mask.astype(np.uint8)
    rows, columns = np.nonzero(mask)
    size = int(max(np.ptp(rows), np.ptp(columns))) + 1
    if change == "shift":
        by = max(1, int(size * generator.uniform(0.005, 0.08)))
        return np.roll(mask, (by, by // 2), (0, 1))
    if change == "strokes":
        for _ in range(generator.integers(1, 5)):
            near, radius = generator.integers(len(rows)), max(1, int(size * generator.uniform(0.02, 0.15)))
            away = generator.integers(-2 * radius, 2 * radius + 1, 2)
            row, column = rows[near] + away[0], columns[near] + away[1]
            cv2.circle(drawn, (int(column), int(row)), radius, int(generator.integers(2)), -1)
        return drawn.astype(bool)
    by = max(1, int(size * generator.uniform(0.005, 0.03)))
    tool = cv2.dilate if generator.integers(2) else cv2.erode
    return tool(drawn, np.ones((2 * by + 1, 2 * by + 1), np.uint8)).astype(bool)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parquet", type=Path, nargs="+", help="files of a training set")
    masks = [mask for path in parser.parse_args().parquet for mask in objects(path)]
    generator = np.random.default_rng(0)
    pairs = [
        (name, Runs.of(mask), Runs.of(kept))
        for mask in masks
        for name in CHANGES
        if (kept := changed(mask, name, generator)).any()
    ]
    for shape in ("brush", "polygon"):
        lengths = [len(json.dumps(region_value(mask, shape))) for mask in masks]
        print(f"{len(masks)} objects as a {shape}: {np.median(lengths):.0f} characters (median)")
    print(f"| cells | characters, median (p90) | {' | '.join(CHANGES)} |\n| --- | --- | --- | --- | --- |")
    for cells in CELLS:
        sketches.CELLS = cells
        lengths = [len(str(sketches.Sketch.of(Runs.of(mask)))) for mask in masks]
        cells_of = [f"{np.median(lengths):.0f} ({np.percentile(lengths, 90):.0f})"]
        for name in CHANGES:
            errors = [
                abs(sketches.Sketch.of(mask).difference(kept) - 1 + mask.intersection_over_union(kept))
                for change, mask, kept in pairs
                if change == name
            ]
            cells_of.append(f"{np.mean(errors):.4f}, {np.percentile(errors, 95):.4f}")
        print(f"| {cells} | {' | '.join(cells_of)} |", flush=True)


if __name__ == "__main__":
    main()
