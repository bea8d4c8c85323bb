"""Labelled masks that can be worked out by hand."""

import json
from dataclasses import asdict, replace

import numpy as np
import pandas as pd

from maskloop.masks import encode_coco
from pipelines.data.shards import Row
from pipelines.quality.labelled import Labelled

ROW = Row(1, 5, 50, "r", "t1", 7, "Cell", 60, 80, "", "image", "{}")


def square(top, left, size=20, height=60, width=80):
    mask = np.zeros((height, width), bool)
    mask[top : top + size, left : left + size] = True
    return mask


def row(mask=None, clicks=(), **changes):
    """A row of a mask; `clicks` are (row, col, positive)."""
    mask = square(10, 10) if mask is None else mask
    height, width = mask.shape
    counts = encode_coco(mask)["counts"]
    text = json.dumps([list(click) for click in clicks])
    return replace(ROW, height=height, width=width, rle=counts, clicks=text, **changes)


def item(mask=None, snapshot=1, **changes):
    return Labelled(row(mask, **changes), snapshot)


def frame(*rows):
    return pd.DataFrame([asdict(row) for row in rows])
