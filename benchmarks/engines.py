"""Milliseconds of a click on a photo of 854 x 480 by engine and input size, beside MobileSAM, in one run.

    python -m benchmarks.engines [--threads 2] [--sessions 6] [--clicks 5]

All answer the same clicks in turn, so that whatever else the machine does slows all alike. A click is
everything up to the mask, with both passes; the first one with what is prepared for the image: the overview,
or MobileSAM's embedding. Processor time is that of all threads: unlike the milliseconds, it hardly depends on
other work.
"""

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.predictor_speed import photo, session
from maskloop.arrays import Image, Mask
from maskloop.checkpoint import load_checkpoint
from maskloop.clicks import Click
from maskloop.engines import ENGINES
from maskloop.metrics import intersection_over_union
from maskloop.predictor import Prediction, Predictor
from maskloop.rivals import open_segmenter
from maskloop.rivals.sam import Sam

SIZE = (480, 854)
Answer = Callable[[list[Click]], Prediction]
Taken = dict[str, list[tuple[float, float]]]
"""Milliseconds and milliseconds of the processor, by name."""


def ours(predictor: Predictor, image: Image) -> Answer:
    """A session of clicks, each with the prediction before; the first prepares the image."""
    kept: list[Prediction] = []
    prepared = []

    def answer(clicks: list[Click]) -> Prediction:
        if not prepared:
            prepared.append(predictor.prepare(image))
        kept.append(predictor.predict(prepared[0], clicks, kept[-1] if kept else None))
        return kept[-1]

    return answer


def theirs(rival: Sam, image: Image) -> Answer:
    kept: list[Prediction] = []

    def answer(clicks: list[Click]) -> Prediction:
        kept.append(rival.predict(image, clicks, kept[-1].probability if kept else None))
        return kept[-1]

    return answer


def measure(
    contestants: dict[str, Predictor | Sam], sessions: int, clicks: int
) -> tuple[Taken, Taken, dict[str, list[float]]]:
    """First clicks, following clicks, and IoU of masks with those of the first contestant."""
    first: Taken = defaultdict(list)
    following: Taken = defaultdict(list)
    agreement: dict[str, list[float]] = defaultdict(list)
    made = session(*SIZE, clicks)
    for number in range(sessions + 1):
        image = photo(*SIZE)
        image[0, 0] = number  # never seen before
        answers = {
            name: ours(one, image) if isinstance(one, Predictor) else theirs(one, image)
            for name, one in contestants.items()
        }
        for count in range(1, clicks + 1):
            masks: dict[str, Mask] = {}
            for name, answer in answers.items():
                wall, processor = time.perf_counter(), time.process_time()
                masks[name] = answer(made[:count]).mask
                taken = ((time.perf_counter() - wall) * 1e3, (time.process_time() - processor) * 1e3)
                if number:  # the first session warms up
                    (first if count == 1 else following)[name].append(taken)
            wanted = next(iter(masks.values()))
            for name, mask in masks.items():
                agreement[name].append(intersection_over_union(mask, wanted))
    return first, following, agreement


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/default"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sessions", type=int, default=6)
    parser.add_argument("--clicks", type=int, default=5, help="a session")
    parser.add_argument("--long-sides", type=int, nargs="*", default=[320, 384], help="beside the model's")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    cv2.setNumThreads(given.threads)
    checkpoint = load_checkpoint(given.checkpoint)
    own = checkpoint.model.config.long_side
    contestants: dict[str, Predictor | Sam] = {}
    for name in sorted(ENGINES, reverse=True):  # torch first: the others are compared with it
        started = time.perf_counter(), time.process_time()
        contestants[f"{name}, {own}"] = Predictor(checkpoint, engine=name)
        wall, processor = time.perf_counter() - started[0], time.process_time() - started[1]
        print(f"{name} is ready after {wall:.2f} s, {processor:.2f} of the processor")
    for side in given.long_sides:
        contestants[f"onnxruntime, {side}"] = Predictor(checkpoint, long_side=side, engine="onnxruntime")
    rival = open_segmenter("mobile_sam")
    assert isinstance(rival, Sam)
    contestants["MobileSAM"] = rival
    load = os.getloadavg()[0]
    first, following, agreement = measure(contestants, given.sessions, given.clicks)
    print(
        f"load {load:.1f} before, {os.getloadavg()[0]:.1f} after; {given.threads} threads of {os.cpu_count()}"
    )
    print(
        f"{'854 x 480':<20}{'first p50':>11}{'processor':>11}{'following p50':>15}{'p95':>8}{'processor':>11}"
    )
    for name in contestants:
        (one, one_cpu), (more, more_cpu) = (np.median(taken[name], axis=0) for taken in (first, following))
        p95 = np.quantile([wall for wall, _ in following[name]], 0.95)
        print(f"{name:<20}{one:>11.1f}{one_cpu:>11.1f}{more:>15.1f}{p95:>8.1f}{more_cpu:>11.1f}")
    for name in list(contestants)[1 : len(ENGINES)]:
        print(f"{name}: least IoU with torch {min(agreement[name]):.4f} of {len(agreement[name])} masks")


if __name__ == "__main__":
    main()
