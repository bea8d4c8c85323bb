"""Masks that a model which never learnt from them contradicts.

A simulated annotator clicks for the mask, and the model answers with the object that it sees. Where that is
far from the mask after a few clicks, a person should look.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from statistics import median
from typing import Protocol

from maskloop.arrays import Image
from maskloop.clicks import Click
from maskloop.datasets.samples import Sample, Samples
from maskloop.evaluation import Segmenter, evaluate
from maskloop.images import decode_image
from pipelines.data.findings import Finding
from pipelines.data.stored import StoredImages
from pipelines.quality.config import QualityConfig
from pipelines.quality.labelled import Labelled

MODEL = "model"
ENOUGH = 5
"""Answers from which a label has a median of its own."""


@dataclass(frozen=True)
class Answer:
    """What a model made of a mask's object: its mask as COCO run lengths, after which clicks."""

    item: Labelled
    iou: float
    rle: str
    clicks: tuple[Click, ...]


class Judge(Protocol):
    """Whoever says what is seen where people labelled masks."""

    @property
    def version(self) -> str:
        """What findings name it."""
        ...

    @property
    def trained(self) -> int:
        """Number of the newest snapshot that it learnt from; 0 where it learnt from none."""
        ...

    def ask(self, root: Path, items: Sequence[Labelled], config: QualityConfig) -> list[Answer]:
        """Its answers to simulated clicks for the masks, none of them empty, in their order.

        Raises:
            SnapshotError: an image is missing under `root`.
        """
        ...


@dataclass(frozen=True)
class Reviewer:
    """One model that masks are shown to; see `Judge`."""

    segmenter: Segmenter
    version: str
    trained: int = 0

    def ask(self, root: Path, items: Sequence[Labelled], config: QualityConfig) -> list[Answer]:
        if not items:
            return []
        report = evaluate(self.segmenter, _questions(root, items), config.model_clicks, progress=False)
        return [
            Answer(item, one.ious[-1], one.masks[max(one.masks)], one.clicks)
            for item, one in zip(items, report.objects, strict=True)
        ]


def find_contradictions(answers: Sequence[Answer], version: str, config: QualityConfig) -> Iterator[Finding]:
    """Masks that the model is far from, by what it reaches with masks of this label."""
    for answer in answers:
        usual = _usual(answer.item.row.label, answers)
        if usual is not None and usual < config.model_knows:
            continue
        limit = config.model_iou if usual is None else min(config.model_iou, config.model_share * usual)
        if answer.iou < limit:
            asked = f"{len(answer.clicks)} click{'s' if len(answer.clicks) != 1 else ''}"
            detail = f"IoU {answer.iou:.2f} with what the model answers to {asked} on it"
            detail += "" if usual is None else f"; half of such masks reach {usual:.2f}"
            yield answer.item.finding(MODEL, detail, answer.iou, version, answer.rle, answer.clicks)


def _usual(label: str, answers: Sequence[Answer]) -> float | None:
    """Median IoU of the label's answers, of all where the label has few; None where there are few at all."""
    own = [answer.iou for answer in answers if answer.item.row.label == label]
    several = own if len(own) >= ENOUGH else [answer.iou for answer in answers]
    return median(several) if len(several) >= ENOUGH else None


def _questions(root: Path, items: Sequence[Labelled]) -> Samples:
    """The masks as samples that are read when asked for."""
    images = StoredImages(root)
    image = lru_cache(maxsize=4)(lambda digest: decode_image(images.read(digest)))
    return Samples([partial(_question, item, image) for item in items])


def _question(item: Labelled, image: Callable[[str], Image]) -> Sample:
    name = f"{item.row.image_sha256[:12]}#{item.row.region_id}"
    return Sample(name, image(item.row.image_sha256), item.mask(), None, item.row.label)
