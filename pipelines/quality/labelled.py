"""Labelled masks: what people say now, each mask with the image's size, its clicks and where it came from."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import pandas as pd

from maskloop.arrays import Mask
from maskloop.clicks import Click
from maskloop.masks import decode_coco
from pipelines.data.findings import Finding
from pipelines.data.shards import Row
from pipelines.data.snapshot import Snapshot

Key = tuple[int, str, str]
"""Annotation, region and version: what tells a mask from all others."""


@dataclass(frozen=True)
class Labelled:
    """One mask in the newest version of its annotation.

    snapshot: number of the snapshot that it came with.
    """

    row: Row
    snapshot: int

    @property
    def key(self) -> Key:
        return self.row.annotation_id, self.row.region_id, self.row.updated_at

    def mask(self) -> Mask:
        """Its pixels, (height, width) bool, decoded anew: a project's masks do not fit into memory."""
        return decode_coco({"size": [self.row.height, self.row.width], "counts": self.row.rle})

    @cached_property
    def clicks(self) -> tuple[Click, ...]:
        """The clicks that led to it, oldest first; none for a mask drawn by hand."""
        return tuple(Click(row, col, bool(positive)) for row, col, positive in json.loads(self.row.clicks))

    def finding(
        self,
        reason: str,
        detail: str,
        value: float,
        against: str = "",
        other: str = "",
        clicks: Sequence[Click] = (),
    ) -> Finding:
        """What is wrong with it; see `Finding` for the arguments."""
        return Finding(
            self.row.project_id,
            self.row.task_id,
            *self.key,
            reason=reason,
            detail=detail,
            value=value,
            against=against,
            other=other,
            clicks=json.dumps([[click.row, click.col, int(click.positive)] for click in clicks]),
        )


def with_snapshots(rows: pd.DataFrame, snapshot: Snapshot) -> pd.DataFrame:
    """All rows of a snapshot with the column `snapshot`, the number of the one that each came with."""
    numbers = [int(shard.name.split("-")[1]) for shard in snapshot.shards]
    return rows.assign(snapshot=np.repeat(numbers, [shard.rows for shard in snapshot.shards]).astype(int))


def current(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the newest version of every annotation, those of all annotators of a task.

    An annotation whose newest version is a retraction has none.
    """
    annotation = ["project_id", "annotation_id"]
    version = rows.groupby(annotation)["updated_at"].transform("max")
    kept = rows[(rows["updated_at"] == version) & (rows["rle"] != "")]
    return kept.drop_duplicates([*annotation, "region_id"], keep="last")


def labelled(rows: pd.DataFrame) -> list[Labelled]:
    """The masks of rows that have the column `snapshot`, oldest version first."""
    names = [field.name for field in fields(Row)]
    ordered = rows.sort_values(["updated_at", "annotation_id"], kind="stable")
    records = ordered[names].to_dict("records")
    return [
        Labelled(Row(**{str(name): value for name, value in record.items()}), int(number))
        for record, number in zip(records, ordered["snapshot"], strict=True)
    ]
