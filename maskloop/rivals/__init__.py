"""Rivals: other ways to answer clicks with a mask, measured like our own network.

grabcut               OpenCV's grabCut
mobile_sam            MobileSAM with the weights of its package; mobile_sam:FILE with others
sam:FILE              Segment Anything, ViT-B, L or H
FOLDER                a checkpoint of ours
...+cascade_psp:FILE  any of these, each answer refined by CascadePSP
"""

from pathlib import Path

from maskloop.errors import CheckpointError
from maskloop.predictor import Predictor
from maskloop.rivals.cascade_psp import CascadePsp, Versioned
from maskloop.rivals.grabcut import GrabCut
from maskloop.rivals.sam import MobileSam, Sam

__all__ = ["CascadePsp", "GrabCut", "MobileSam", "Sam", "open_segmenter"]

KNOWN = (
    "grabcut, mobile_sam, mobile_sam:FILE, sam:FILE or a checkpoint's folder, and +cascade_psp:FILE after it"
)


def open_segmenter(text: str) -> Versioned:
    """Open the segmenter that a text names, as listed above; a folder called `grabcut` is `./grabcut`.

    Raises:
        CheckpointError: the name is unknown, or its weights or package are missing; says what to put where.
    """
    inner, refined, file = text.rpartition("+cascade_psp:")
    if refined:
        return CascadePsp(open_segmenter(inner), Path(file))
    name, _, file = text.partition(":")
    if text == "grabcut":
        return GrabCut()
    if name == "mobile_sam":
        return MobileSam(Path(file) if file else None)
    if name == "sam" and file:
        return Sam(Path(file))
    if text and Path(text).is_dir():
        return Predictor.load(Path(text))
    raise CheckpointError(f"unknown segmenter {text!r}, and no such folder; give {KNOWN}")
