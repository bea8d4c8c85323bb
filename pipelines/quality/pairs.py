"""Masks of one image beside each other: doubles, and what several annotators made of one object."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from maskloop.arrays import Mask
from maskloop.metrics import boundary_iou, intersection_over_union
from pipelines.data.findings import Finding
from pipelines.quality.config import QualityConfig
from pipelines.quality.labelled import Labelled

DUPLICATE, ANNOTATORS = "duplicate", "annotators"

Opinion = Callable[[Labelled], float | None]
"""How well a model agrees with a mask, 0..1; None where it cannot say."""


@dataclass(frozen=True)
class Pair:
    """One object as two annotators drew it."""

    first: Labelled
    second: Labelled
    iou: float
    boundary_iou: float


@dataclass(frozen=True)
class Comparison:
    """Two annotations of a task: the objects that both have, and those that one of them lacks."""

    pairs: tuple[Pair, ...]
    unmatched: tuple[Labelled, ...]


def find_duplicates(items: Sequence[Labelled], config: QualityConfig) -> Iterator[Finding]:
    """Masks of one image that are there twice, in one annotation or in two tasks; the later one is told.

    Args:
        items: the masks of one image, oldest version first.
        config: the thresholds.
    """
    masks = [item.mask() for item in items]
    boxes = [_box(mask) for mask in masks]
    told: set[int] = set()
    for first, second in combinations(range(len(items)), 2):
        one, other = items[first], items[second]
        if told & {first, second} or not _rivals(one, other) or not _meet(boxes[first], boxes[second]):
            continue
        iou = intersection_over_union(masks[first], masks[second])
        if iou < config.duplicate:
            continue
        double = first if other.row.ground_truth else second
        if items[double].row.ground_truth:
            continue
        told.add(double)
        yield _duplicate(items[double], one if double == second else other, iou)


def compare(items: Sequence[Labelled], config: QualityConfig) -> Iterator[Comparison]:
    """Every two annotations of one task, by different people."""
    by_annotation: dict[int, list[Labelled]] = {}
    for item in items:
        by_annotation.setdefault(item.row.annotation_id, []).append(item)
    for first, second in combinations(by_annotation.values(), 2):
        if first[0].row.annotator != second[0].row.annotator:
            yield match(first, second, config)


def match(first: Sequence[Labelled], second: Sequence[Labelled], config: QualityConfig) -> Comparison:
    """Pair the regions of two annotations so that the sum of their IoUs is largest."""
    masks, others = [item.mask() for item in first], [item.mask() for item in second]
    overlaps = np.array([[intersection_over_union(mask, other) for other in others] for mask in masks])
    chosen = [
        (row, col)
        for row, col in zip(*linear_sum_assignment(overlaps, maximize=True), strict=True)
        if overlaps[row, col] >= config.match
    ]
    pairs = tuple(
        Pair(first[row], second[col], float(overlaps[row, col]), boundary_iou(masks[row], others[col]))
        for row, col in chosen
    )
    rows, cols = {row for row, _ in chosen}, {col for _, col in chosen}
    alone = [item for number, item in enumerate(first) if number not in rows]
    return Comparison(pairs, (*alone, *(item for number, item in enumerate(second) if number not in cols)))


def find_disagreements(pairs: Sequence[Pair], config: QualityConfig, opinion: Opinion) -> Iterator[Finding]:
    """Of two masks of one object that differ too much, the worse one; none of two that are ground truth.

    The worse one is that which agrees less with the other annotators; where there are no others, less with a
    model; and where there is none, the older one.
    """
    for pair in pairs:
        if pair.iou >= config.agreement:
            continue
        worse, better = _ranked(pair, pairs, opinion)
        if not worse.row.ground_truth:
            detail = (
                f"IoU {pair.iou:.2f} and boundary IoU {pair.boundary_iou:.2f} with annotator "
                f"{better.row.annotator}{_other_label(worse, better)}"
            )
            against = f"annotator {better.row.annotator}"
            yield worse.finding(ANNOTATORS, detail, pair.iou, against, better.row.rle)


def agreement_table(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """Agreement between annotators by label, and of all.

    Columns: pairs, iou and boundary_iou (means of the pairs), unmatched (share of the masks that the other
    annotator lacks), other_label (share of the pairs whose labels differ). A pair counts for the label of
    its first mask.
    """
    pairs = pd.DataFrame(
        [
            (pair.first.row.label, pair.iou, pair.boundary_iou, pair.first.row.label != pair.second.row.label)
            for comparison in comparisons
            for pair in comparison.pairs
        ],
        columns=["label", "iou", "boundary_iou", "other_label"],
    )
    alone = [item.row.label for comparison in comparisons for item in comparison.unmatched]
    labels = sorted({*pairs["label"], *alone})
    lines = [_agreement(label, pairs[pairs["label"] == label], alone.count(label)) for label in labels]
    if len(lines) > 1:
        lines.append(_agreement("all", pairs, len(alone)))
    columns = ["label", "pairs", "iou", "boundary_iou", "unmatched", "other_label"]
    return pd.DataFrame(lines, columns=columns).set_index("label")


def _agreement(label: str, pairs: pd.DataFrame, alone: int) -> dict[str, object]:
    return {
        "label": label,
        "pairs": len(pairs),
        "iou": pairs["iou"].mean(),
        "boundary_iou": pairs["boundary_iou"].mean(),
        "unmatched": alone / (2 * len(pairs) + alone),
        "other_label": pairs["other_label"].astype(float).mean(),
    }


def _ranked(pair: Pair, pairs: Sequence[Pair], opinion: Opinion) -> tuple[Labelled, Labelled]:
    """The worse and the better mask of a pair."""
    first, second = pair.first, pair.second
    if first.row.ground_truth != second.row.ground_truth:
        return (second, first) if first.row.ground_truth else (first, second)
    scores = [_support(item, pair, pairs) for item in (first, second)]
    if None in scores or scores[0] == scores[1]:
        scores = [opinion(item) for item in (first, second)]
    if None in scores or scores[0] == scores[1]:
        older = first.row.updated_at <= second.row.updated_at
        return (first, second) if older else (second, first)
    return (first, second) if (scores[0] or 0.0) < (scores[1] or 0.0) else (second, first)


def _support(item: Labelled, pair: Pair, pairs: Sequence[Pair]) -> float | None:
    """Mean IoU with what annotators beside the two of the pair drew; None where nobody else drew it."""
    others = [one.iou for one in pairs if one is not pair and item.key in (one.first.key, one.second.key)]
    return sum(others) / len(others) if others else None


def _rivals(first: Labelled, second: Labelled) -> bool:
    """Whether two masks would be trained on twice: annotators of one task are compared otherwise."""
    return first.row.task_id != second.row.task_id or first.row.annotation_id == second.row.annotation_id


def _duplicate(double: Labelled, kept: Labelled, iou: float) -> Finding:
    where = "" if double.row.task_id == kept.row.task_id else f" of task {kept.row.task_id}"
    detail = f"the same object as region {kept.row.region_id}{where}{_other_label(double, kept)}"
    against = f"region {kept.row.region_id}"
    return double.finding(DUPLICATE, detail, iou, against, kept.row.rle)


def _other_label(item: Labelled, other: Labelled) -> str:
    same = item.row.label == other.row.label
    return "" if same else f", which is called {other.row.label}, not {item.row.label}"


def _box(mask: Mask) -> tuple[int, int, int, int]:
    """Top, left, bottom, right; bottom and right exclusive."""
    if not mask.any():
        return 0, 0, 0, 0
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1


def _meet(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> bool:
    apart = first[2] <= second[0] or second[2] <= first[0] or first[3] <= second[1] or second[3] <= first[1]
    return not apart
