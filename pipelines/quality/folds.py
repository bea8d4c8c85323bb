"""Cross-validation: every mask is shown to a model that was fine-tuned on the masks of other images."""

import logging
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pandas as pd

from maskloop.checkpoint import load_checkpoint
from maskloop.corpus import Corpus
from maskloop.predictor import Predictor
from maskloop.training import TrainingConfig, train
from pipelines.data.stored import StoredImages
from pipelines.errors import SettingsError
from pipelines.quality.config import QualityConfig
from pipelines.quality.contradiction import Answer, Reviewer
from pipelines.quality.labelled import Labelled
from pipelines.stages.params import read_params

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Folds:
    """Models that are made for the review, all from one checkpoint; none is shown what it learnt from.

    start: checkpoint that never learnt from the masks; what has, cannot judge them.
    count: how many models are trained; 5 train on four fifths of the images each.
    training: one fine-tuning.
    """

    start: Path
    count: int
    training: TrainingConfig

    def __post_init__(self) -> None:
        if self.count < 2:
            raise SettingsError(f"{self.count} folds leave nothing to train on: give 2 or more, 5 are usual.")

    @property
    def version(self) -> str:
        """What findings name as the judge."""
        return f"one of {self.count} models by cross-validation"

    @property
    def trained(self) -> int:
        """No mask is shown to a model that learnt from it, however old it is."""
        return 0

    def ask(self, root: Path, items: Sequence[Labelled], config: QualityConfig) -> list[Answer]:
        """The answers in the order of the items; how long a fold took is logged."""
        answers: dict[Labelled, Answer] = {}
        # by the image, since masks of one image are alike
        images = sorted({item.row.image_sha256 for item in items})
        for fold in range(min(self.count, len(images))):
            own = set(images[fold :: self.count])
            held_out = [item for item in items if item.row.image_sha256 in own]
            others = [item for item in items if item.row.image_sha256 not in own]
            started = time.monotonic()
            reviewer = Reviewer(self._train(root, others), self.version)
            answers |= {answer.item: answer for answer in reviewer.ask(root, held_out, config)}
            logger.info(
                "fold %d of %d: trained on %d masks, asked about %d, %.0f s",
                *(fold + 1, self.count, len(others), len(held_out), time.monotonic() - started),
            )
        return [answers[item] for item in items]

    def _train(self, root: Path, items: Sequence[Labelled]) -> Predictor:
        with tempfile.TemporaryDirectory() as folder:
            start = load_checkpoint(self.start)
            train(start.model, Corpus(_table(root, items)), Path(folder), self.training, resume=False)
            return Predictor.load(Path(folder))


def training_of(root: Path) -> TrainingConfig:
    """The fine-tuning of a fold: that of a retrain, section `train` of params.yaml."""
    names = set(TrainingConfig.__dataclass_fields__) - {"shares", "name"}
    params = {name: value for name, value in read_params(root, "train").items() if name in names}
    return TrainingConfig(name="fold", **params | {"save_every": params["steps"]})


def _table(root: Path, items: Sequence[Labelled]) -> pd.DataFrame:
    """The masks as the images that training draws."""
    images = StoredImages(root)
    by_image = sorted(items, key=lambda item: item.row.image_sha256)
    return pd.DataFrame(
        [
            {
                "image_id": digest,
                "source": "labelled",
                "split": "train",
                "height": masks[0].row.height,
                "width": masks[0].row.width,
                "image": images.read(digest),
                "objects": [_object(item) for item in masks],
            }
            for digest, group in groupby(by_image, key=lambda item: item.row.image_sha256)
            if (masks := list(group))
        ],
        columns=["image_id", "source", "split", "height", "width", "image", "objects"],
    )


def _object(item: Labelled) -> dict[str, object]:
    return {"rle": item.row.rle, "category": item.row.label, "area": int(item.mask().sum())}
