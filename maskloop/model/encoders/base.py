"""What the network asks of an encoder."""

from abc import ABC, abstractmethod
from pathlib import Path

import torch
from torch import Tensor, nn

from maskloop.model.encoders.weights import Published, load_published

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Encoder(nn.Module, ABC):
    """A backbone in two parts, so that clicks can be added to its stem (early fusion, RITM).

    The parameter names are those of the published weights, so that they load without a table.

    Attributes:
        stem_channels: channels of the stem feature.
        channels: channels of the maps, finest first.
        decoder: name of the decoder that it is published with, see `maskloop.model.decoders`.
        width: channels that this decoder has where the configuration does not say.
        published: the weights that it can start from.
    """

    stem_channels: int
    channels: tuple[int, ...]
    decoder: str
    width: int
    published: Published

    @abstractmethod
    def stem(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) in 0..1 to stem feature (B, stem_channels, ceil(H/2), ceil(W/2))."""

    @abstractmethod
    def forward(self, stem: Tensor) -> list[Tensor]:
        """Stem feature to maps, finest first; the first is (B, channels[0], ceil(H/4), ceil(W/4))."""

    def load_imagenet(self, file: Path) -> None:
        """Load published weights; a classifier or decoder in the file is left out.

        Raises:
            CheckpointError: the file is missing or damaged, or its names or shapes are not this encoder's.
        """
        load_published(self, self.published, file)


class Normalise(nn.Module):
    """Bring an image in 0..1 to the range that published weights were trained with."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD
    ) -> None:
        super().__init__()
        # not persistent: constants of the method, which no weights file holds
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) to the same shape."""
        return (image - self.mean) / self.std
