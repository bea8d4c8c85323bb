"""DVC remotes: a folder and an S3 server, filled and read by the steps of a retrain.

    python -m benchmarks.scaling_storage [--masks 5000 50000] [--image-bytes 20000] [--remotes folder s3]

For each number of masks a fresh clone of this repository takes a snapshot of made masks, five an image, by
`open_worktree` and `commit_snapshot`, as the retrain flow does (images are random bytes: DVC does not look
inside). Then 250 more masks, another clone's `dvc pull`, and a worktree after the cache was lost. Seconds are
those of the clock; those in brackets the processor's, of us and of DVC, without the server's.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.object_store import BUCKET, KEY, SECRET, ObjectStore, object_store
from maskloop.masks import encode_coco
from pipelines.commands import run
from pipelines.data.shards import Row, read_rows, write_shards
from pipelines.data.snapshot import Snapshot, read_snapshot
from pipelines.versioning import open_worktree

MASKS_AN_IMAGE = 5
MORE = 250
HEIGHT, WIDTH = 480, 640


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--masks", type=int, nargs="+", default=[5000])
    parser.add_argument("--image-bytes", type=int, default=20_000)
    parser.add_argument("--remotes", nargs="+", choices=["folder", "s3"], default=["folder", "s3"])
    arguments = parser.parse_args()
    for masks in arguments.masks:
        for remote in arguments.remotes:
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch)
                server = object_store(folder / "server") if remote == "s3" else nullcontext()
                with server as store:
                    print(
                        f"\n{masks} masks of {masks // MASKS_AN_IMAGE} images, remote: {remote}", flush=True
                    )
                    measure(folder, masks, arguments.image_bytes, store)


def measure(folder: Path, masks: int, image_bytes: int, store: ObjectStore | None) -> None:
    repository = clone(Path(), folder / "repository")
    if store is not None:
        use_s3(repository, store)
        commit(repository, "Store on S3")
    first = snapshot(repository, "one", masks, image_bytes)
    snapshot(repository, "two", MORE, image_bytes)
    if store is None:
        files = [path for path in (repository / ".maskloop/storage").rglob("*") if path.is_file()]
        size = len(files), sum(path.stat().st_size for path in files)
    else:
        size = store.objects()
    print(f"{'stored':<44}{size[0]:>8} objects, {size[1] / 1e6:.1f} MB", flush=True)

    other = clone(repository, folder / "other", "--branch", "maskloop/snapshot")
    if store is None:
        address = str(repository / ".maskloop/storage")
        dvc(other, "remote", "modify", "--local", "storage", "url", address)
    else:
        keys(other)
    with timed("dvc pull in a fresh clone"):
        dvc(other, "pull", "data/annotations.dvc", "data/images.dvc")
    check(other, masks + MORE)
    shutil.rmtree(repository / ".dvc/cache")
    with timed("open_worktree after the cache was lost"), worktree(repository, "three") as found:
        check(found.path, masks + MORE)
    assert first.masks == masks


def snapshot(repository: Path, name: str, masks: int, image_bytes: int) -> Snapshot:
    """What a collect leaves behind, put under version control as the flow does it."""
    with worktree(repository, name) as found:
        before = read_snapshot(found.path)
        images = found.path / "data/images"
        images.mkdir(parents=True, exist_ok=True)
        rows = made_rows(images, before.masks, masks, image_bytes)
        shards = write_shards(found.path, f"{before.version + 1:04d}", rows)
        after = Snapshot(
            version=before.version + 1, masks=before.masks + masks, shards=(*before.shards, *shards)
        )
        with timed(f"commit_snapshot of {masks} new masks (add, push)"):
            found.commit_snapshot(after)
    return after


def made_rows(images: Path, first: int, count: int, image_bytes: int) -> list[Row]:
    generator = np.random.default_rng(first)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    counts = []
    for _ in range(200):  # outlines that are used again and again
        row, col, tall, wide = generator.uniform(0.1, 0.9, 4) * (HEIGHT, WIDTH, HEIGHT / 3, WIDTH / 3)
        ragged = 1 + 0.1 * np.sin(np.arctan2(y - row, x - col) * generator.integers(3, 12))
        counts.append(encode_coco(((y - row) / tall) ** 2 + ((x - col) / wide) ** 2 < ragged)["counts"])
    rows = []
    for number in range(first, first + count):
        image, place = divmod(number, MASKS_AN_IMAGE)
        name = f"{image:064x}"
        if not place:
            (images / f"{name}.jpg").write_bytes(generator.bytes(image_bytes))
        fixed = (1, image, image, str(place), "2026-01-01T00:00:00.000000Z", 1, "Object", HEIGHT, WIDTH)
        rows.append(Row(*fixed, counts[generator.integers(200)], name, "{}"))
    return rows


def check(folder: Path, masks: int) -> None:
    """Everything is there, with the digests that the snapshot recorded."""
    found = read_snapshot(folder)
    assert found.masks == masks
    assert read_rows(folder, found).num_rows == masks
    assert len(list((folder / "data/images").iterdir())) == masks // MASKS_AN_IMAGE


def use_s3(repository: Path, store: ObjectStore) -> None:
    """What everybody shares goes into `.dvc/config`, the keys into `.dvc/config.local`."""
    dvc(repository, "remote", "modify", "storage", "url", f"s3://{BUCKET}/dvc")
    dvc(repository, "remote", "modify", "storage", "endpointurl", store.endpoint)
    keys(repository)


def keys(repository: Path) -> None:
    dvc(repository, "remote", "modify", "--local", "storage", "access_key_id", KEY)
    dvc(repository, "remote", "modify", "--local", "storage", "secret_access_key", SECRET)


def clone(source: Path, target: Path, *options: str) -> Path:
    subprocess.run(["git", "clone", "--quiet", *options, str(source.resolve()), str(target)], check=True)
    return target


def commit(repository: Path, message: str) -> None:
    identity = ("-c", "user.name=someone", "-c", "user.email=someone@localhost")
    subprocess.run(
        ["git", *identity, "commit", "--quiet", "--all", "--no-verify", "-m", message],
        cwd=repository,
        check=True,
    )


def dvc(folder: Path, *arguments: str) -> None:
    run([sys.executable, "-m", "dvc", *arguments], folder, lambda _: None)


def worktree(repository: Path, name: str) -> Any:
    return open_worktree(repository, name, lambda _: None)


@contextmanager
def timed(name: str) -> Iterator[None]:
    started, used = time.perf_counter(), processor_seconds()
    yield
    seconds, used = time.perf_counter() - started, processor_seconds() - used
    print(f"{name:<44}{seconds:>8.1f} s  [{used:.1f} s]", flush=True)


def processor_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
