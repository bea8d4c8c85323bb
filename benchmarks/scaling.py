"""What a dataset of a given size costs: unit costs measured here, and the formula of docs/scaling.md on them.

    python -m benchmarks.scaling SHARD [--images 10000 100000 1000000] [--kilobytes 150] [--masks 5]

SHARD is a Parquet file of the training sets: its images are clicked on and trained on. All times are seconds
of one core, so that other programs on the machine matter little.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch

from benchmarks.scaling_storage import made_rows
from maskloop.checkpoint import load_checkpoint
from maskloop.corpus import Corpus
from maskloop.datasets import open_dataset
from maskloop.evaluation import evaluate
from maskloop.images import decode_image
from maskloop.predictor import Predictor
from maskloop.training import TrainingConfig, train
from pipelines.data.shards import newest_masks, read_rows, write_shards
from pipelines.data.snapshot import Snapshot

CHECKPOINT = Path("checkpoints/default")
HOUR = 3600
COPIES = 3
"""Of what is under DVC, prepared data with the images once more: in remote, cache and worktree."""


@dataclass(frozen=True)
class Units:
    """Core seconds, and bytes, of one of each."""

    click: float
    view: float
    """A view of a training step, forward and backward."""
    decode: float
    """An image's pixels: what hashing it costs at the least."""
    write_row: float
    read_row: float
    row_bytes: float
    row_memory: float
    """Bytes that a mask takes while all are read."""
    image_memory: float
    """Bytes that training holds for a byte of `train.parquet`."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shard", type=Path)
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--kilobytes", type=float, default=150, help="of an image")
    parser.add_argument("--masks", type=float, default=5, help="of an image")
    parser.add_argument("--rows", type=int, default=20_000, help="masks that are written and read")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    units = measure(arguments.shard, arguments.rows)
    for name, value in vars(units).items():
        print(f"{name:<14}{value:.6f}")
    print()
    tables = [model(units, count, 1000 * arguments.kilobytes, arguments.masks) for count in arguments.images]
    print(f"{'images':<44}" + "".join(f"{count:>12,}" for count in arguments.images))
    for name in tables[0]:
        print(f"{name:<44}" + "".join(f"{table[name]:>12.3g}" for table in tables))


def model(units: Units, images: int, image_bytes: float, masks: float) -> dict[str, float]:
    """What `images` images with `masks` masks each cost; hours are those of one core, GB are 10^9 bytes."""
    rows = images * masks
    pixels, table = images * image_bytes / 1e9, rows * units.row_bytes / 1e9
    return {
        "stored once: images, GB": pixels,
        "stored once: masks, GB": table,
        "under DVC after one retrain, GB": COPIES * 2 * (pixels + table),
        "each further retrain adds, GB": 2 * (pixels + table),
        "collect: writing the masks, hours": rows * units.write_row / HOUR,
        "prepare: reading the masks, hours": rows * units.read_row / HOUR,
        "prepare: hashing new images, hours": images * units.decode / HOUR,
        "prepare: memory of the masks, GB": rows * units.row_memory / 1e9,
        "train: memory of one process, GB": units.image_memory * (pixels + table),
        "train: 100 steps of 4 views, hours": 400 * units.view / HOUR,
        "evaluate: 2 models, 20 objects, hours": 2 * 20 * 20 * units.click / HOUR,
        "prioritize: 12 clicks an image, hours": images * 12 * units.click / HOUR,
        "pre-annotate: 48 clicks an image, hours": images * 48 * units.click / HOUR,
    }


def measure(shard: Path, rows: int) -> Units:
    samples = open_dataset("parquet", shard).spread(6)
    predictor = Predictor.load(CHECKPOINT)
    evaluate(predictor, samples[:1], max_clicks=1, progress=False)
    with cpu() as clicking:
        report = evaluate(predictor, samples, max_clicks=4, progress=False)
    clicks = sum(len(item.clicks) for item in report.objects)

    before = memory()
    corpus = Corpus.read(shard)
    held = memory() - before
    encoded = [row.image for row in corpus._rows.head(20).itertuples()]
    with cpu() as decoding:
        for data in encoded:
            decode_image(data)
    with tempfile.TemporaryDirectory() as scratch:
        config = {"name": "measured", "size": 192, "batch": 4, "warmup": 1, "average": 0.9, "seed": 0}
        used = []
        for steps in (2, 7):  # the difference is free of what a run costs once
            with cpu() as training:
                start = load_checkpoint(CHECKPOINT).model
                settings = TrainingConfig(steps=steps, save_every=steps, **config)
                train(start, corpus, Path(scratch) / str(steps), settings, {}, resume=False)
            used.append(training.seconds)
        table = table_costs(Path(scratch), rows)
    return Units(
        click=clicking.seconds / clicks,
        view=(used[1] - used[0]) / 5 / 4,
        decode=decoding.seconds / len(encoded),
        **table,
        image_memory=held / shard.stat().st_size,
    )


def table_costs(root: Path, count: int) -> dict[str, float]:
    """Of a mask, in core seconds and bytes."""
    (root / "images").mkdir()
    rows = made_rows(root / "images", 0, count, 10)
    generator = np.random.default_rng(0)
    # no two masks are alike, which the file would hold once
    rows = [row.__class__(**{**vars(row), "rle": generator.bytes(225).hex()}) for row in rows]
    with cpu() as writing:
        shards = write_shards(root, "0001", rows)
    size = sum((root / "data/annotations" / shard.name).stat().st_size for shard in shards)
    del rows
    before = memory()
    with cpu() as reading:
        table = newest_masks(read_rows(root, Snapshot(version=1, masks=count, shards=shards)).to_pandas())
    assert len(table) == count
    return {
        "write_row": writing.seconds / count,
        "read_row": reading.seconds / count,
        "row_bytes": size / count,
        "row_memory": (memory() - before) / count,
    }


@dataclass
class Stopwatch:
    seconds: float = 0.0


@contextmanager
def cpu() -> Iterator[Stopwatch]:
    """Seconds of the processor that the block took."""
    watch, started = Stopwatch(), time.process_time()
    yield watch
    watch.seconds = time.process_time() - started


def memory() -> int:
    return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    main()
