"""Files of datasets, made by the tests."""

from io import BytesIO

import numpy as np
from PIL import Image

IMAGE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
LEFT = np.zeros((4, 6), dtype=bool)
LEFT[:, :2] = True


def png(pixels):
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def save(root, name, pixels):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
