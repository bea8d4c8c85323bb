"""Evaluation with many objects in a batch against one at a time: same figures, how much faster?

    python -m benchmarks.batched_evaluation parquet PATH [--checkpoint DIR] [--limit N] [--batch N ...]

Both in one run, on the same objects. Prints NoC, how many objects have the same clicks and IoUs, and the
seconds of the whole evaluation, the annotator's included.
"""

import argparse
import time
from pathlib import Path

import torch

from maskloop.datasets import Samples, open_dataset
from maskloop.evaluation import Report, evaluate
from maskloop.predictor import Predictor


def timed(predictor: Predictor, samples: Samples, batch: int) -> tuple[Report, float]:
    started = time.perf_counter()
    report = evaluate(predictor, samples, batch=batch)
    return report, time.perf_counter() - started


def line(name: str, report: Report, seconds: float, base: Report, base_seconds: float) -> str:
    pairs = list(zip(report.objects, base.objects, strict=True))
    same = sum(one.clicks == other.clicks and one.ious == other.ious for one, other in pairs)
    counts = all(
        one.clicks_to(iou) == other.clicks_to(iou) for one, other in pairs for iou in (0.8, 0.85, 0.9, 0.95)
    )
    noc = "/".join(f"{report.noc(iou):.4f}" for iou in (0.85, 0.9, 0.95))
    return (
        f"{name:<12}{noc:<24}{'yes' if counts else 'no':<12}{same:>4} of {len(pairs):<6}{seconds:>9.1f}"
        f"{base_seconds / seconds:>8.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset")
    parser.add_argument("root", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/default"))
    parser.add_argument("--limit", type=int)
    parser.add_argument("--batch", type=int, nargs="+", default=[16])
    arguments = parser.parse_args()
    samples = open_dataset(arguments.dataset, arguments.root, limit=arguments.limit)
    predictor = Predictor.load(arguments.checkpoint)
    print(f"{len(samples)} objects, 20 clicks each, {torch.get_num_threads()} threads")
    base, base_seconds = timed(predictor, samples, 1)
    print(f"{'':<12}{'NoC@85/90/95':<24}{'same counts':<12}{'same masks':<14}{'seconds':>9}{'faster':>8}")
    print(line("one by one", base, base_seconds, base, base_seconds))
    for batch in arguments.batch:
        report, seconds = timed(predictor, samples, batch)
        print(line(f"batch {batch}", report, seconds, base, base_seconds))


if __name__ == "__main__":
    main()
