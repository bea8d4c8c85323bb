"""CascadePSP (arXiv 2005.02551): a network that refines whatever mask another segmenter found."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from maskloop.arrays import Image, Mask, Plane
from maskloop.checkpoint import digest
from maskloop.clicks import Click
from maskloop.evaluation import Segmenter
from maskloop.predictor import Prediction
from maskloop.rivals.packages import fill, import_alone, read_weights

DISTRIBUTION = "segmentation-refinement"
PACKAGE = "segmentation_refinement"
WANTED = "the weights of CascadePSP: the file `model` of release v1.0 of github.com/hkchengrex/CascadePSP"
LONG_SIDE = 900
"""Longer side in pixels of the whole image and of each window of it, as its authors have it."""
PREFIX = "module."
"""Stands before every name in the published file."""

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
DEVIATION = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


class Versioned(Segmenter, Protocol):
    """A segmenter that says what it is."""

    version: str


class CascadePsp:
    """Refines each answer of a segmenter, so that the refined mask is what the next click corrects."""

    def __init__(self, segmenter: Versioned, weights: Path, long_side: int = LONG_SIDE) -> None:
        """Read weights; CheckpointError when the file is missing, damaged or of another network."""
        state = read_weights(weights, WANTED)
        self._segmenter = segmenter
        self._long_side = long_side
        self._model = import_alone(f"{PACKAGE}.models.psp.pspnet", DISTRIBUTION).RefinementModule()
        fill(self._model, {name.removeprefix(PREFIX): value for name, value in state.items()}, weights)
        self._process = import_alone(f"{PACKAGE}.eval_helper", DISTRIBUTION).process_high_res_im
        self.version = f"{segmenter.version}+cascade_psp-{digest(weights)[:8]}"

    def predict(self, image: Image, clicks: Sequence[Click], previous: Plane | None = None) -> Prediction:
        """As the segmenter within; an empty mask stays as it is, since there is nothing to refine."""
        prediction = self._segmenter.predict(image, clicks, previous)
        return Prediction(self.refine(image, prediction.mask)) if prediction.mask.any() else prediction

    @torch.inference_mode()
    def refine(self, image: Image, mask: Mask) -> Plane:
        """Probability (H, W) of an object whose mask (H, W) is roughly known, on its image (H, W, 3)."""
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1) / 255
        rough = torch.from_numpy(mask).float()[None, None] * 2 - 1
        refined: Tensor = self._process(
            self._model, ((pixels - MEAN) / DEVIATION)[None], rough, self._long_side
        )
        return refined[0, 0].numpy()
