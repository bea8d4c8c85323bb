"""IoU of a checkpoint after each of five clicks on the demo's sample photos.

python -m benchmarks.sample_photos [CHECKPOINT]
"""

import sys
from pathlib import Path

import numpy as np

from maskloop.datasets import Sample
from maskloop.evaluation import ObjectResult, label
from maskloop.images import decode_image
from maskloop.masks import polygon_to_mask
from maskloop.predictor import Predictor
from pipelines.data.samples import load_samples

CLICKS = 5


def measure(checkpoint: Path) -> list[ObjectResult]:
    """One result an object, against the outlines drawn for this project."""
    predictor = Predictor.load(checkpoint)
    results = []
    for photo in load_samples():
        image = decode_image(photo.image_bytes)
        for item in photo.objects:
            mask = polygon_to_mask(item.rings, *image.shape[:2])
            results.append(label(predictor, Sample(photo.name, image, mask, None, item.label), CLICKS))
    return results


def main() -> None:
    results = measure(Path(sys.argv[1] if len(sys.argv) > 1 else "checkpoints/default"))
    for result in results:
        print(f"{result.image_id:14}{result.category:18}" + "".join(f"{iou:6.2f}" for iou in result.ious))
    print(f"{'mean':32}" + "".join(f"{iou:6.2f}" for iou in np.mean([one.ious for one in results], axis=0)))


if __name__ == "__main__":
    main()
