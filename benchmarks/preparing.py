"""Time and memory of assigning splits and of the stage prepare, by the number of masks.

python -m benchmarks.preparing [--masks 5000 50000]

Made data: five masks an image, JPEGs of 160 x 120 pixels with noise over patches, in a folder that is thrown
away. benchmarks.splitting tells what an image of real size costs to hash. Each measurement is a process, so
that its peak of memory is its own.
"""

import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import yaml

from maskloop.masks import encode_coco
from pipelines.data.shards import Row, write_shards
from pipelines.data.snapshot import Snapshot, read_snapshot, write_snapshot
from pipelines.data.split import assign
from pipelines.data.stored import IMAGES
from pipelines.stages import prepare

HEIGHT, WIDTH = 120, 160
MASKS_PER_IMAGE = 5
PARAMS = {"rendered": 150, "test_percent": 20, "base": "", "base_images": 0, "general": ""}
STEPS = ("assign", "assign again", "prepare")


def photo(seed: int) -> bytes:
    """A JPEG that looks like no other."""
    generator = np.random.default_rng(seed)
    patches = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    image = cv2.resize(patches, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    fine = generator.integers(0, 48, (HEIGHT // 2, WIDTH // 2, 3), dtype=np.uint8)
    image = cv2.addWeighted(image, 0.8, cv2.resize(fine, (WIDTH, HEIGHT)), 1.0, 0)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


def outlines(count: int) -> list[str]:
    """Run lengths of as many ragged ellipses, as people's masks are."""
    generator = np.random.default_rng(0)
    found = []
    for _ in range(count):
        mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        row, col = generator.integers(30, 90, 2).tolist()
        cv2.ellipse(mask, (col, row), tuple(generator.integers(6, 25, 2).tolist()), 30, 0, 360, 1, -1)
        rough = generator.random((HEIGHT, WIDTH)) < 0.5
        border = cv2.dilate(mask, np.ones((3, 3), np.uint8)) != cv2.erode(mask, np.ones((3, 3), np.uint8))
        found.append(str(encode_coco((mask > 0) & ~(border & rough))["counts"]))
    return found


def make(root: Path, masks: int) -> None:
    """A snapshot with so many masks."""
    (root / IMAGES).mkdir(parents=True)
    (root / "params.yaml").write_text(yaml.safe_dump({"prepare": PARAMS}))
    shapes, rows = outlines(200), []
    for number in range(masks // MASKS_PER_IMAGE):
        data = photo(number)
        digest = sha256(data).hexdigest()
        (root / IMAGES / f"{digest}.jpeg").write_bytes(data)
        for region in range(MASKS_PER_IMAGE):
            rle = shapes[(number * MASKS_PER_IMAGE + region) % len(shapes)]
            place = (1, number, number, str(region), "2026-01-01T00:00:00Z", 1, "Cell", HEIGHT, WIDTH)
            rows.append(Row(*place, rle, digest, '{"meta": {"text": ["{}"]}}', clicks="[[60, 80, 1]]"))
    write_snapshot(root, Snapshot(1, "", masks, write_shards(root, "0001", rows)))


def work(root: Path, step: str) -> None:
    """One step, as it is timed."""
    before = peak_memory()
    started, cpu = time.perf_counter(), time.process_time()
    if step == "prepare":
        prepare.main(root)
    else:
        write_snapshot(root, assign(root, read_snapshot(root), PARAMS["test_percent"], PARAMS["rendered"]))
    spent = time.perf_counter() - started, time.process_time() - cpu
    print(f"{step:14}{spent[0]:8.1f} s, {spent[1]:6.1f} s of a core, {peak_memory()} MiB ({before} before)")


def peak_memory() -> int:
    """MiB; from the kernel's table, as the figure of the module resource starts with the parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(dict(line.split(":", 1) for line in lines)["VmHWM"].split()[0]) >> 10


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--masks", type=int, nargs="+", default=[5000, 50000])
    parser.add_argument("--step", nargs=2, metavar=("FOLDER", "STEP"), help="what each process does")
    given = parser.parse_args()
    if given.step:
        work(Path(given.step[0]), given.step[1])
        return
    for masks in given.masks:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), masks)
            size = sum(path.stat().st_size for path in (Path(folder) / IMAGES).iterdir()) >> 20
            print(f"\n{masks} masks in {masks // MASKS_PER_IMAGE} images, {size} MiB", flush=True)
            for step in STEPS:
                command = [sys.executable, "-m", "benchmarks.preparing", "--step", folder, step]
                subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
