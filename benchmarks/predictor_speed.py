"""Milliseconds of a click, first and following, on a small and a large photo, and where they go.

    python -m benchmarks.predictor_speed [--checkpoint DIR] [--clicks 12] [--threads 1 2]

Beside each click of the predictor stands one of the reference: the same two passes as plainly as they can be
written, with the network as it was trained, nothing prepared, and every plane as large as the image. Both in
turns in one process, on the same clicks; the masks of both are compared. A click is everything up to the
mask, the first one with what is prepared for the image.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from maskloop.arrays import Image, Mask, Plane
from maskloop.canvas import Canvas
from maskloop.checkpoint import load_checkpoint
from maskloop.clicks import Click, stack_clicks
from maskloop.crops import Crop, full_region, mask_extent, zoom_region
from maskloop.metrics import intersection_over_union
from maskloop.model import CSFPN
from maskloop.model.csfpn import MASK_THRESHOLD
from maskloop.predictor import ZOOM_THRESHOLD, Predictor

SIZES = ((480, 854), (3000, 4000))
Times = dict[str, list[float]]


def photo(height: int, width: int) -> Image:
    """A textured ellipse as wide as two fifths of the image, on a shaded ground."""
    rows, cols = np.ogrid[:height, :width]
    inside = ((rows / height - 0.5) / 0.25) ** 2 + ((cols / width - 0.45) / 0.2) ** 2 <= 1
    ground = np.broadcast_to(cols * 120 // width, (height, width))
    gray = np.where(inside, 200, ground) + np.random.default_rng(0).integers(0, 30, (height, width))
    return np.stack([gray, gray // 2, 255 - gray], axis=2).astype(np.uint8)


def session(height: int, width: int, count: int) -> list[Click]:
    """Clicks about the ellipse, every third of them beside it."""
    angles = 2.4 * np.arange(count)
    reach = np.where(np.arange(count) % 3 == 2, 1.5, 0.6)
    spots = np.stack([0.5 + 0.25 * reach * np.sin(angles), 0.45 + 0.2 * reach * np.cos(angles)], axis=1)
    return [Click(r * height, c * width, bool(n % 3 != 2)) for n, (r, c) in enumerate(spots)]


class Reference:
    """Both passes of the cascade with planes of the image's size."""

    def __init__(self, model: CSFPN) -> None:
        self._model = model

    @torch.inference_mode()
    def predict(self, image: Image, clicks: list[Click], previous: Plane) -> tuple[Plane, Mask]:
        side = self._model.config.long_side
        plane = self._pass(full_region(*previous.shape, side), image, clicks, previous)
        extent = mask_extent(plane > ZOOM_THRESHOLD)
        plane = self._pass(zoom_region(extent, previous.shape, clicks, side), image, clicks, plane)
        return plane, plane > MASK_THRESHOLD

    def _pass(self, crop: Crop, image: Image, clicks: list[Click], plane: Plane) -> Plane:
        window = torch.from_numpy(np.ascontiguousarray(plane[crop.window.slices]))[None, None]
        view = F.interpolate(window, (crop.height, crop.width), mode="bilinear", antialias=True)
        logits = self._model(crop.image(image), view, stack_clicks([crop.clicks(clicks)])).mask
        pasted = plane.copy()
        resized = F.interpolate(logits.sigmoid(), crop.window.size, mode="bilinear")
        pasted[crop.window.slices] = resized[0, 0].numpy()
        return pasted


@contextmanager
def parts(times: Times) -> Iterator[None]:
    """Time what a click is made of: methods are wrapped while this lasts."""
    wrapped: list[tuple[Any, str, str]] = [
        (Crop, "image", "resize image"),
        (Canvas, "view", "resize mask"),
        (Predictor, "_logits", "network"),
        (Canvas, "extent", "find region"),
        (Canvas, "above", "mask"),
    ]
    kept = [(owner, name, getattr(owner, name)) for owner, name, _ in wrapped]
    for (owner, name, part), (_, _, method) in zip(wrapped, kept, strict=True):
        setattr(owner, name, _timed(method, times[part]))
    try:
        yield
    finally:
        for owner, name, method in kept:
            setattr(owner, name, method)


def _timed(call: Callable[..., Any], into: list[float]) -> Callable[..., Any]:
    def timed(*arguments: Any) -> Any:
        started = time.perf_counter()
        result = call(*arguments)
        into.append((time.perf_counter() - started) * 1e3)
        return result

    return timed


def measure(predictor: Predictor, reference: Reference, size: tuple[int, int], clicks: int) -> Times:
    """Milliseconds by name, one a session (first) or a click (following)."""
    image, made = photo(*size), session(*size, clicks)
    times: Times = defaultdict(list)
    for _ in range(3):
        plane = np.zeros(size, np.float32)
        prepared = prediction = None
        for count in range(1, clicks + 1):
            name = "first" if count == 1 else "following"
            with parts(times if name == "following" else defaultdict(list)):
                started = time.perf_counter()
                prepared = prepared or predictor.prepare(image)
                prediction = predictor.predict(prepared, made[:count], prediction)
                mask = prediction.mask
                times[name].append((time.perf_counter() - started) * 1e3)
            started = time.perf_counter()
            plane, expected = reference.predict(image, made[:count], plane)
            times[f"{name} of the reference"].append((time.perf_counter() - started) * 1e3)
            times["IoU"].append(intersection_over_union(mask, expected))
    return times


def report(size: tuple[int, int], threads: int, clicks: int, times: Times) -> None:
    print(f"\n{size[1]} x {size[0]}, {threads} threads{'p50':>20}{'p95':>8}{'reference':>11}{'ratio':>7}")
    for name in ("first", "following"):
        own, other = times[name], times[f"{name} of the reference"]
        ratio = np.median(other) / np.median(own)
        print(
            f"{name + ' click':<32}{np.median(own):>9.1f}{np.quantile(own, 0.95):>8.1f}"
            f"{np.median(other):>11.1f}{ratio:>7.2f}"
        )
    following = len(times["following"])
    for name in ("resize image", "resize mask", "network", "find region", "mask"):
        print(f"  {name:<30}{sum(times[name]) / following:>9.1f}  a following click, mean")
    print(f"  masks against the reference: least IoU {min(times['IoU']):.4f} of {3 * clicks}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/default"))
    parser.add_argument("--clicks", type=int, default=12)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    given = parser.parse_args()
    checkpoint = load_checkpoint(given.checkpoint)
    predictor, reference = Predictor(checkpoint), Reference(checkpoint.model)
    started = time.perf_counter()
    predictor.warm_up()
    cold = time.perf_counter() - started
    started = time.perf_counter()
    predictor.warm_up()
    print(f"warm-up {cold:.2f} s, of which compilation {cold - (time.perf_counter() - started):.2f} s")
    for threads in given.threads:
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
        for size in SIZES:
            report(size, threads, given.clicks, measure(predictor, reference, size, given.clicks))


if __name__ == "__main__":
    main()
