"""The review in a retrain: what is new is looked at with the champion, which never learnt from it."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from maskloop.predictor import Predictor
from pipelines.data.findings import read_findings
from pipelines.data.shards import read_rows
from pipelines.data.snapshot import Snapshot, read_snapshot
from pipelines.promotion.registry import CHAMPION, Registry
from pipelines.quality.config import QualityConfig
from pipelines.quality.contradiction import Reviewer
from pipelines.quality.review import Review, open_findings, record, review

DEFAULT = Path("checkpoints/default")


@dataclass(frozen=True)
class Reviewed:
    """What the review of a retrain found.

    snapshot: names the findings; it is to be committed.
    waiting: all that wait for a person, those of earlier snapshots too; see `open_findings`.
    """

    snapshot: Snapshot
    review: Review
    waiting: pd.DataFrame


def review_new(root: Path, snapshot: Snapshot, reviewer: Reviewer | None) -> Reviewed:
    """Look at what `snapshot` has beyond the one that is committed under `root`, and record what is found.

    Raises:
        SettingsError: params.yaml has no usable section `quality`.
        SnapshotError: data is missing or was changed.
    """
    done = review(root, snapshot, QualityConfig.read(root), reviewer, since=read_snapshot(root).version)
    snapshot = record(root, snapshot, done.findings)
    rows = read_rows(root, snapshot).to_pandas()
    return Reviewed(snapshot, done, open_findings(rows, read_findings(root, snapshot)))


def champion(registry: Registry, root: Path) -> Reviewer:
    """The champion and the newest snapshot it learnt from; without one the checkpoint that came with us.

    Raises:
        RegistryError: MLflow does not answer.
    """
    version = registry.holder(CHAMPION)
    if version is None:
        predictor = Predictor.load(root / DEFAULT)
        return Reviewer(predictor, predictor.version)
    with tempfile.TemporaryDirectory() as folder:
        predictor = Predictor.load(registry.download(version, Path(folder)))
    return Reviewer(predictor, version.served_as, int(version.tags.get("snapshot") or 0))
