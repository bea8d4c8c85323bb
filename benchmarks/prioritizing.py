"""How well expected clicks are predicted, and what ranking costs.

    python -m benchmarks.prioritizing measure SHARD... --split val --out measured.jsonl
    python -m benchmarks.prioritizing accuracy measured.jsonl [--plot FILE] [--calibration FILE]
    python -m benchmarks.prioritizing scale [--count 1000 10000]

`measure` profiles the images of Parquet shards and lets the ideal annotator label some objects of each to an
IoU of 90 %; images that the file has already are left out, so it may be cut off. `accuracy` predicts the
clicks of each image from a fit to the others (ten folds), prints Spearman's correlation with the true ones
beside what single signals give, draws predicted against true clicks, and writes the calibration fitted to all
images. `scale` times looks at images, and keeps and ranks so many profiles.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.stats import rankdata

from maskloop.datasets import open_dataset
from maskloop.datasets.samples import Samples
from maskloop.images import decode_image
from maskloop.intervals import bootstrap
from maskloop.predictor import Predictor
from maskloop.selection import SIGNALS, Measured, Profile, fit, measure, profile, rank_profiles
from maskloop.selection.store import ProfileStore
from pipelines.data.samples import load_samples

FOLDS = 10
DRAWS = 2000
BINS = 5


def measured_file(path: Path) -> list[tuple[str, Measured]]:
    """Source and figures of each image."""
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        (
            row["source"],
            Measured(
                row["image"],
                Profile(np.array(row["probes"], np.float32), row["entropy"], np.zeros(0, np.float32)),
                row["clicks"],
            ),
        )
        for row in rows
    ]


def line(source: str, one: Measured) -> str:
    row = {"source": source, "image": one.image, "clicks": one.clicks, "entropy": one.profile.entropy}
    return json.dumps(row | {"probes": [[round(float(x), 5) for x in probe] for probe in one.profile.probes]})


def measure_all(arguments: argparse.Namespace) -> None:
    predictor = Predictor.load(arguments.checkpoint)
    done = {(source, one.image) for source, one in measured_file(arguments.out)}
    for shard in arguments.shards:
        samples = open_dataset("parquet", shard, split=arguments.split)
        left = Samples([read for read in samples._readers if (shard.stem, image_of(read)) not in done])
        started = time.perf_counter()
        for count, one in enumerate(measure(predictor, left, arguments.objects, arguments.batch), start=1):
            with arguments.out.open("a", encoding="utf-8") as out:
                out.write(line(shard.stem, one) + "\n")
            print(f"{shard.stem} {count} images, {(time.perf_counter() - started) / count:.1f} s each")


def image_of(read: Callable[[], Any]) -> str:
    return str(read().image_id.partition("#")[0])


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    return float(correlations(one[None], other[None])[0])


def correlations(ones: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each row with the same row of the other; 0 where one of them is constant."""
    ranks = [rankdata(values, axis=1) for values in (ones, others)]
    first, second = (values - values.mean(axis=1, keepdims=True) for values in ranks)
    size = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    return (first * second).sum(axis=1) / np.maximum(size, 1e-9)


def interval(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    draws = np.random.default_rng(0).integers(len(one), size=(DRAWS, len(one)))
    low, high = np.quantile(correlations(one[draws], other[draws]), [0.025, 0.975])
    return float(low), float(high)


def cross_fitted(profiles: Sequence[Profile], clicks: np.ndarray, seed: int = 0) -> np.ndarray:
    """Clicks of each image by a fit to the images of the other folds."""
    folds = np.random.default_rng(seed).permutation(len(profiles)) % FOLDS
    predicted = np.zeros(len(profiles))
    for fold in range(FOLDS):
        inside = folds == fold
        fitted = fit([one for one, own in zip(profiles, inside, strict=True) if not own], clicks[~inside])
        predicted[inside] = fitted.expected_clicks(
            [one for one, own in zip(profiles, inside, strict=True) if own]
        )
    return predicted


def thinned(one: Profile, places: int) -> Profile:
    """The profile as fewer places would have made it."""
    kept = np.linspace(0, len(one.probes) - 1, places).round().astype(int)
    return Profile(one.probes[kept], one.entropy, one.descriptor)


def accuracy(arguments: argparse.Namespace) -> None:
    rows = measured_file(arguments.measured)
    sources = np.array([source for source, _ in rows])
    profiles = [one.profile for _, one in rows]
    clicks = np.array([one.clicks for _, one in rows])
    means = np.array([one.probes.mean(axis=0) for one in profiles])
    predicted = cross_fitted(profiles, clicks)
    print(
        f"{len(rows)} images: "
        + ", ".join(f"{name} {int((sources == name).sum())}" for name in np.unique(sources))
    )
    print(f"{'predicted by':<24}{'Spearman':>9}   95 % interval")
    estimates = {"fit, cross-fitted": predicted}
    estimates |= {
        f"fit, {count} places": cross_fitted([thinned(one, count) for one in profiles], clicks)
        for count in (2, 3, 4)
    }
    estimates |= {"mean pixel entropy": np.array([one.entropy for one in profiles])}
    estimates |= {f"{name} alone": means[:, index] for index, name in enumerate(SIGNALS)}
    for name, values in estimates.items():
        low, high = interval(values, clicks)
        print(f"{name:<24}{spearman(values, clicks):>9.2f}   {low:.2f} .. {high:.2f}")
    for name in np.unique(sources):
        own = sources == name
        low, high = interval(predicted[own], clicks[own])
        correlation = spearman(predicted[own], clicks[own])
        print(f"{'fit, ' + name + ' alone':<24}{correlation:>9.2f}   {low:.2f} .. {high:.2f}")
    seeds = [spearman(cross_fitted(profiles, clicks, seed), clicks) for seed in range(10)]
    print(f"fit over ten draws of the folds: {min(seeds):.2f} .. {max(seeds):.2f}")
    error = np.abs(predicted - clicks).mean(), np.abs(clicks.mean() - clicks).mean()
    print(f"mean error {error[0]:.2f} clicks; of the mean alone {error[1]:.2f}")
    bins = np.array_split(np.argsort(predicted), BINS)
    print("fifth by prediction: expected clicks, true clicks")
    for part in bins:
        print(f"{predicted[part].mean():>10.1f}{clicks[part].mean():>10.1f}")
    if arguments.plot:
        draw(predicted, clicks, sources, bins, arguments.plot)
    if arguments.calibration:
        about = json.loads((arguments.checkpoint / "config.json").read_text(encoding="utf-8"))
        version = f"{about['name']}-{about['sha256'][:8]}"
        fit(profiles, clicks, version).write(arguments.calibration)


def draw(
    predicted: np.ndarray, clicks: np.ndarray, sources: np.ndarray, bins: list[np.ndarray], path: Path
) -> None:
    figure = Figure(figsize=(5.2, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([1, 20], [1, 20], color="0.7", linewidth=1, label="as expected")
    for name, colour, marker in zip(
        np.unique(sources), ("#0072B2", "#D55E00", "#009E73", "#CC79A7"), "os^D", strict=False
    ):
        own = sources == name
        axes.scatter(predicted[own], clicks[own], s=16, color=colour, marker=marker, alpha=0.6, label=name)
    intervals = [bootstrap(clicks[part], [str(index) for index in part]) for part in bins]
    middle = [one.mean for one in intervals]
    spread = [[one.mean - one.low for one in intervals], [one.high - one.mean for one in intervals]]
    axes.errorbar(
        [predicted[part].mean() for part in bins],
        middle,
        spread,
        color="black",
        marker="s",
        capsize=3,
        linestyle="none",
        label="mean of a fifth, 95 %",
    )
    axes.set(
        xlabel="clicks expected for a mask",
        ylabel="clicks that it took (IoU 90 %)",
        xlim=(0, 20.5),
        ylim=(0, 20.5),
    )
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=110)


def scale(arguments: argparse.Namespace) -> None:
    predictor = Predictor.load(arguments.checkpoint)
    photos = [decode_image(photo.image_bytes) for photo in load_samples()]
    generator = np.random.default_rng(0)
    crops = []
    for index in range(arguments.looks):
        photo = photos[index % len(photos)]
        top, left = (int(generator.integers(0, max(1, size - 128))) for size in photo.shape[:2])
        crops.append(np.ascontiguousarray(photo[top : top + 128, left : left + 128]))
    started, used = time.perf_counter(), time.process_time()
    seen = [profile(predictor, crop) for crop in crops]
    wall, cpu = (
        (end - start) / len(crops)
        for end, start in ((time.perf_counter(), started), (time.process_time(), used))
    )
    print(
        f"a look at an image of 128 x 128: {wall:.2f} s, {cpu:.2f} s of a core, "
        f"{torch.get_num_threads()} threads"
    )
    print(f"{'images':>8}{'write s':>9}{'read s':>8}{'file MB':>9}{'rank s':>8}{'MB more':>9}")
    for count in arguments.count:
        print(scale_line(count, seen, generator), flush=True)


def scale_line(count: int, seen: list[Profile], generator: np.random.Generator) -> str:
    """Keep and rank so many profiles, made of those seen and noise; seconds of a core."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "profiles.sqlite"
        with ProfileStore(path, "model") as store:
            before = time.process_time()
            for index in range(count):
                store.put(f"{index:064x}", noisy(seen[index % len(seen)], generator))
            written = time.process_time() - before
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            before = time.process_time()
            kept = [one for index in range(count) if (one := store.get(f"{index:064x}")) is not None]
            read = time.process_time() - before
        size = path.stat().st_size / 1e6
    before = time.process_time()
    assert len(rank_profiles(kept)) == count
    ranked = time.process_time() - before
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    return f"{count:>8}{written:>9.2f}{read:>8.2f}{size:>9.1f}{ranked:>8.2f}{more:>9.0f}"


def noisy(one: Profile, generator: np.random.Generator) -> Profile:
    probes = one.probes * generator.normal(1, 0.1, one.probes.shape)
    descriptor = one.descriptor * generator.normal(1, 0.3, one.descriptor.shape)
    return Profile(probes.astype(np.float32), one.entropy, descriptor.astype(np.float32))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/default"))
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("measure")
    one.add_argument("shards", type=Path, nargs="+")
    one.add_argument("--split", default="val")
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--batch", type=int, default=8)
    one.add_argument("--objects", type=int, default=2, help="of each image, at most")
    one.set_defaults(run=measure_all)
    one = commands.add_parser("accuracy")
    one.add_argument("measured", type=Path)
    one.add_argument("--plot", type=Path)
    one.add_argument("--calibration", type=Path)
    one.set_defaults(run=accuracy)
    one = commands.add_parser("scale")
    one.add_argument("--count", type=int, nargs="+", default=[1000, 10000])
    one.add_argument("--looks", type=int, default=24)
    one.set_defaults(run=scale)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
