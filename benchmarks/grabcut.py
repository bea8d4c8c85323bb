"""Number of clicks of a checkpoint beside OpenCV's grabCut: same simulated annotator, same images.

    python -m benchmarks.grabcut parquet PATH [--checkpoint DIR] [--limit N]

grabCut gets every help that clicks can give: disks around the clicks as certain pixels, the mask before as
likely object, and for the first click a circle of a fifth of the image as likely object.
"""

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from maskloop.arrays import Image, Plane
from maskloop.clicks import DISK_RADIUS, Click
from maskloop.datasets import open_dataset
from maskloop.evaluation import Report, evaluate
from maskloop.predictor import Prediction, Predictor


class GrabCut:
    """OpenCV's grabCut as a segmenter; works at a reduced size, since its time grows with the pixels."""

    def __init__(self, long_side: int = 320, iterations: int = 3) -> None:
        self._long_side = long_side
        self._iterations = iterations

    def predict(self, image: Image, clicks: Sequence[Click], previous: Plane | None = None) -> Prediction:
        height, width = image.shape[:2]
        scale = min(1.0, self._long_side / max(height, width))
        size = (round(width * scale), round(height * scale))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        labels = self._labels(size, clicks, previous, scale)
        # when one of the two colour models gets no sample, the labels stand as they are
        with contextlib.suppress(cv2.error):
            cv2.grabCut(
                small,
                labels,
                None,
                np.zeros((1, 65)),
                np.zeros((1, 65)),
                self._iterations,
                cv2.GC_INIT_WITH_MASK,
            )
        probability = ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.float32)
        return Prediction(cv2.resize(probability, (width, height)))

    @staticmethod
    def _labels(
        size: tuple[int, int], clicks: Sequence[Click], previous: Plane | None, scale: float
    ) -> np.ndarray:
        labels = np.full((size[1], size[0]), cv2.GC_PR_BGD, np.uint8)
        if previous is None:
            for click in clicks:
                cv2.circle(labels, _point(click, scale), min(size) // 5, cv2.GC_PR_FGD, -1)
        else:
            labels[cv2.resize(previous, size) > 0.5] = cv2.GC_PR_FGD
        for click in clicks:
            certain = cv2.GC_FGD if click.positive else cv2.GC_BGD
            cv2.circle(labels, _point(click, scale), round(DISK_RADIUS * scale), certain, -1)
        return labels


def _point(click: Click, scale: float) -> tuple[int, int]:
    return round((click.col + 0.5) * scale - 0.5), round((click.row + 0.5) * scale - 0.5)


def table(reports: dict[str, Report]) -> str:
    """The figures side by side, one line each."""
    figures = {name: report.to_dict() for name, report in reports.items()}
    lines = [f"{'':18}" + "".join(f"{name:>14}" for name in figures)]
    for key in ("objects", "noc85", "noc90", "noc95", "nof90", "seconds_per_click"):
        lines.append(f"{key:18}" + "".join(f"{values[key]:14.2f}" for values in figures.values()))
    for click in (1, 3, 5, 10, 20):
        cells = "".join(f"{values['iou_at_click'][click - 1]:14.3f}" for values in figures.values())
        lines.append(f"{f'IoU at click {click}':18}" + cells)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset")
    parser.add_argument("root", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/default"))
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()
    samples = open_dataset(arguments.dataset, arguments.root, limit=arguments.limit)
    predictor = Predictor.load(arguments.checkpoint)
    print(table({predictor.version: evaluate(predictor, samples), "grabCut": evaluate(GrabCut(), samples)}))


if __name__ == "__main__":
    main()
