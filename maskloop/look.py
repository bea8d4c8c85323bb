"""The first look of a prompted cascade: a whole image is encoded once, clicks on it are answered soon."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from maskloop.arrays import Image
from maskloop.clicks import Click, stack_clicks
from maskloop.crops import Crop, full_region
from maskloop.engines import open_engine
from maskloop.errors import CheckpointError
from maskloop.model.layers import resize
from maskloop.model.prompted import BOTTOM_RIGHT, TOP_LEFT, PromptedViT
from maskloop.protocols import PROTOCOLS


@dataclass(frozen=True)
class Features:
    """What a look made of an image, (1, C, h, w), as `crop` showed it; of use to the same weights alone."""

    values: Tensor
    crop: Crop
    sha256: str


class Look:
    """A `PromptedViT`, run by engines."""

    def __init__(self, network: PromptedViT, side: int, sha256: str, engine: str | None) -> None:
        """Make it ready.

        Args:
            network: folded.
            side: longer side in pixels at which it is shown images.
            sha256: of the weights.
            engine: as of `Predictor`.
        """
        self.side = side
        self._encode = open_engine(network, engine, "encode")
        self._decode = open_engine(network, engine, "decode")
        self._sha256 = sha256

    def features(self, image: Image, known: Features | None = None) -> Features:
        """Of an image (H, W, 3) uint8 RGB; those known, if the same weights made them."""
        if known is not None and known.sha256 == self._sha256:
            return known
        height, width = image.shape[:2]
        crop = full_region(height, width, self.side)
        return Features(self._encode(crop.image(image)), crop, self._sha256)

    def answer(self, features: Sequence[Features], previous: Tensor, prompts: Tensor) -> Tensor:
        """Probability (B, 1, H, W) of images that are shown at one size; as `PromptedViT.decode`."""
        logits = self._decode(torch.cat([one.values for one in features]), previous, prompts)
        return resize(logits, previous.shape[-2:]).sigmoid()


def stack_prompts(clicks: Sequence[Sequence[Click]], corners: Sequence[Sequence[Click]]) -> Tensor:
    """Clicks of several images as `stack_clicks` has them, with both corners of a box in two slots more.

    Args:
        clicks: of each image.
        corners: of each image top left and bottom right, or nothing.
    """
    marks = torch.zeros(len(corners), 2, 3)
    for item, pair in enumerate(corners):
        for slot, (corner, sign) in enumerate(zip(pair, (TOP_LEFT, BOTTOM_RIGHT), strict=False)):
            marks[item, slot] = torch.tensor([corner.row, corner.col, sign])
    return torch.cat([stack_clicks(clicks), marks], dim=1)


def check_protocol(name: str) -> None:
    """Raise CheckpointError for a protocol without the whole image, or with it at its own size alone."""
    known = [other for other, one in PROTOCOLS.items() if "full" in one.passes and not one.native]
    if name not in known:
        raise CheckpointError(
            f"protocol {name!r} leaves out the look at the whole image that this checkpoint begins with; "
            f"take {', '.join(known)}"
        )
