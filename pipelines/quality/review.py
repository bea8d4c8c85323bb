"""The review of a snapshot: what came since another one is looked at, and what is wrong with it recorded."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from pipelines.data.findings import KEY, Finding, read_findings, write_findings
from pipelines.data.shards import read_rows
from pipelines.data.snapshot import Snapshot
from pipelines.quality.config import QualityConfig
from pipelines.quality.contradiction import Judge, find_contradictions
from pipelines.quality.labelled import Key, Labelled, current, labelled, with_snapshots
from pipelines.quality.pairs import (
    Pair,
    agreement_table,
    compare,
    find_disagreements,
    find_duplicates,
)
from pipelines.quality.pointing import check_clicks
from pipelines.quality.shapes import EMPTY, check_shape


@dataclass(frozen=True)
class Review:
    """What a review found.

    findings: the new ones; those recorded before are in the snapshot.
    agreement: of the annotators, by label; see `agreement_table`.
    looked_at: masks that are new.
    asked: those that the model was asked about.
    left: those that it should have been asked about, but for the limit.
    """

    findings: tuple[Finding, ...]
    agreement: pd.DataFrame
    looked_at: int
    asked: int
    left: int

    def __str__(self) -> str:
        told = f"{self.looked_at} masks looked at, {len(self.findings)} set aside"
        if self.asked or self.left:
            told += f"; the model was asked about {self.asked}, not about {self.left} beyond the limit"
        return told


def review(
    root: Path, snapshot: Snapshot, config: QualityConfig, judge: Judge | None = None, since: int = 0
) -> Review:
    """Look at the masks that came after snapshot number `since`, beside others of their images and tasks.

    Nothing is written. Without a judge no model is asked.

    Raises:
        SnapshotError: data of the snapshot is missing or was changed.
    """
    rows = current(with_snapshots(read_rows(root, snapshot).to_pandas(), snapshot))
    fresh = rows["snapshot"] > since
    beside = rows["image_sha256"].isin(rows["image_sha256"][fresh])
    beside |= rows["task_id"].isin(rows["task_id"][fresh])
    items = labelled(rows[beside])
    vouched = {item.key for item in items if item.row.ground_truth}
    desk = _Desk(read_findings(root, snapshot), since, vouched)
    desk.add(finding for item in items if desk.is_open(item) and (finding := check_shape(item, config)))
    desk.add(finding for item in items if desk.is_open(item) and (finding := check_clicks(item, config)))
    for group in _groups(items, "image_sha256"):
        desk.add(find_duplicates([item for item in group if not desk.is_aside(item)], config))
    comparisons = [comparison for group in _groups(items, "task_id") for comparison in compare(group, config)]
    asked = [item for item in reversed(items) if judge and _is_asked(item, judge, desk)]
    answers = judge.ask(root, asked[: config.limit], config) if judge else []
    ious = {answer.item.key: answer.iou for answer in answers}
    pairs = [pair for comparison in comparisons for pair in comparison.pairs if desk.both_count(pair)]
    desk.add(find_disagreements(pairs, config, lambda item: ious.get(item.key)))
    if judge:
        desk.add(find_contradictions(answers, judge.version, config))
    return Review(
        tuple(desk.findings),
        agreement_table(comparisons),
        looked_at=int(fresh.sum()),
        asked=len(answers),
        left=len(asked) - len(answers),
    )


def record(root: Path, snapshot: Snapshot, findings: Sequence[Finding]) -> Snapshot:
    """Write findings to `data/findings`; returns the snapshot that names them, which is to be committed."""
    if not findings:
        return snapshot
    if any(shard.name.startswith(f"part-{snapshot.name}-") for shard in snapshot.findings):
        snapshot = replace(snapshot, version=snapshot.version + 1)  # a file is never written twice
    files = write_findings(root, snapshot.name, findings)
    return replace(snapshot, findings=snapshot.findings + files)


def open_findings(rows: pd.DataFrame, findings: pd.DataFrame) -> pd.DataFrame:
    """The findings that nobody has seen to, as their mask is what the annotation still says, newest first.

    They have the columns of the mask's row as well; its clicks are `own_clicks`.
    """
    masks = current(rows).rename(columns={"clicks": "own_clicks"})
    masks = masks.drop(columns=["project_id", "task_id"])
    return findings.merge(masks, on=KEY).iloc[::-1].reset_index(drop=True)


def _groups(items: Sequence[Labelled], column: str) -> list[list[Labelled]]:
    """Items of one image, or of one task, together."""
    groups: dict[object, list[Labelled]] = {}
    for item in items:
        groups.setdefault(getattr(item.row, column), []).append(item)
    return list(groups.values())


def _is_asked(item: Labelled, judge: Judge, desk: "_Desk") -> bool:
    """Whether the model is asked about a mask: it is new to both, and nobody vouched for it."""
    return desk.is_open(item) and item.snapshot > judge.trained and item.key not in desk.vouched


class _Desk:
    """What has been found in a review, one finding a mask."""

    def __init__(self, known: pd.DataFrame, since: int, vouched: Collection[Key]) -> None:
        self.vouched = vouched
        self._since = since
        self._aside = {tuple(key) for key in known[KEY].to_numpy()}
        self._told = {tuple(mask) for mask in known[["annotation_id", "region_id", "reason"]].to_numpy()}
        self.findings: list[Finding] = []

    def is_aside(self, item: Labelled) -> bool:
        """Whether something was found about a mask, now or before."""
        return item.key in self._aside

    def is_open(self, item: Labelled) -> bool:
        """Whether a mask is new and nothing was found about it."""
        return item.snapshot > self._since and not self.is_aside(item)

    def both_count(self, pair: Pair) -> bool:
        """Whether nothing was found about either of two annotators' masks."""
        return not (self.is_aside(pair.first) or self.is_aside(pair.second))

    def add(self, findings: Iterable[Finding]) -> None:
        """Keep what is found about masks that nothing was found about."""
        for finding in list(findings):
            key = (finding.annotation_id, finding.region_id, finding.updated_at)
            if key not in self._aside and not self._is_settled(finding):
                self._aside.add(key)
                self.findings.append(finding)

    def _is_settled(self, finding: Finding) -> bool:
        """Whether a person's word is that the mask is right: a star, or saved again after it was told."""
        if finding.reason == EMPTY:  # nothing can be learnt from it, whoever says so
            return False
        key = (finding.annotation_id, finding.region_id, finding.updated_at)
        return key in self.vouched or (finding.annotation_id, finding.region_id, finding.reason) in self._told
