"""Pictures to split: each seed shows something else, and what people do to a picture leaves its twin."""

from io import BytesIO

import cv2
import numpy as np
from PIL import Image, ImageEnhance


def picture(seed: int, side: int = 96) -> Image.Image:
    """Soft patches of colour with a few dots, as unlike any other seed's as two photos are."""
    random = np.random.default_rng(seed)
    patches = random.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    image = cv2.resize(patches, (side, side), interpolation=cv2.INTER_CUBIC)
    for row, col, radius in random.integers(4, side - 4, (12, 3)).tolist():
        cv2.circle(image, (col, row), 2 + radius % 7, random.integers(0, 256, 3).tolist(), cv2.FILLED)
    return Image.fromarray(image)


def encoded(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _resized(image: Image.Image) -> bytes:
    return encoded(image.resize((image.width * 3 // 4, image.height * 3 // 4)))


TWINS = {
    "re-encoded": lambda image: encoded(image, "JPEG", quality=60),
    "stored again": lambda image: encoded(image, "PNG", compress_level=1),
    "resized": _resized,
    "brighter": lambda image: encoded(ImageEnhance.Brightness(image).enhance(1.2)),
    "darker": lambda image: encoded(ImageEnhance.Brightness(image).enhance(0.7), "WEBP", quality=80),
    "cropped": lambda image: encoded(image.crop((1, 1, image.width - 1, image.height - 1))),
}
