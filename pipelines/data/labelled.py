"""Labelled images: what people corrected, the masks that count and nothing that was found wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from maskloop.masks import coco_area
from pipelines.data.findings import KEY, read_findings, without_findings
from pipelines.data.prepared import Picture
from pipelines.data.shards import SCHEMA, newest_masks, read_rows
from pipelines.data.snapshot import Snapshot
from pipelines.data.stored import StoredImages

SOURCE = "labelled"
_COLUMNS = [name for name in SCHEMA.names if name != "meta"]
_USED = ("height", "width", "label", "rle", "clicks")


class LabelledImages:
    """The images of a snapshot by digest. Masks stay encoded; an image is read when it is asked for.

    left_out: masks that would count but for a finding, by the finding's reason.
    """

    def __init__(self, root: Path, snapshot: Snapshot) -> None:
        rows = read_rows(root, snapshot, _COLUMNS).to_pandas()
        findings = read_findings(root, snapshot)
        self.left_out = _left_out(rows, findings)
        kept = newest_masks(without_findings(rows, findings))
        places = kept.groupby("image_sha256").indices
        self._places = {str(digest): np.asarray(indices) for digest, indices in places.items()}
        # as lists: taking rows out of a table that came in many files costs more the more files there are
        self._columns = [kept[name].tolist() for name in _USED]
        self._images = StoredImages(root)

    @property
    def digests(self) -> set[str]:
        return set(self._places)

    def picture(self, digest: str) -> Picture:
        """The image with its objects.

        Raises:
            SnapshotError: its bytes are missing or damaged.
        """
        rows = [[column[place] for column in self._columns] for place in self._places[digest]]
        size = int(rows[0][0]), int(rows[0][1])
        objects = [_object(size, *row[2:]) for row in rows]
        return Picture(f"image-{digest[:12]}", SOURCE, self._images.read(digest), *size, objects)


def _left_out(rows: pd.DataFrame, findings: pd.DataFrame) -> dict[str, int]:
    """How many of the masks that count have a finding, by its reason; with several, by the first."""
    if findings.empty:
        return {}
    reasons = findings.drop_duplicates(KEY)[[*KEY, "reason"]]
    counts = newest_masks(rows)[KEY].merge(reasons, on=KEY)["reason"].value_counts()
    return {str(reason): int(count) for reason, count in counts.sort_index().items()}


def _object(size: tuple[int, int], label: str, rle: str, clicks: str) -> dict[str, Any]:
    return {
        "rle": rle,
        "category": label,
        "area": coco_area({"size": [*size], "counts": rle}),
        "clicks": [
            {"row": float(row), "col": float(col), "positive": bool(positive)}
            for row, col, positive in json.loads(clicks)
        ],
    }
