"""What the network asks of an encoder."""

from abc import ABC, abstractmethod
from pathlib import Path

from torch import Tensor, nn


class Encoder(nn.Module, ABC):
    """A backbone in two parts, so that clicks can be added to its stem (early fusion, RITM).

    Attributes:
        stem_channels: channels of the stem feature.
        channels: channels of the maps, finest first.
        decoder: name of the decoder that it is published with, see `maskloop.model.decoders`.
        width: channels that this decoder has where the configuration does not say.
    """

    stem_channels: int
    channels: tuple[int, ...]
    decoder: str
    width: int

    @abstractmethod
    def stem(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) in 0..1 to stem feature (B, stem_channels, ceil(H/2), ceil(W/2))."""

    @abstractmethod
    def forward(self, stem: Tensor) -> list[Tensor]:
        """Stem feature to maps, finest first; the first is (B, channels[0], ceil(H/4), ceil(W/4))."""

    @abstractmethod
    def load_imagenet(self, file: Path) -> None:
        """Load published weights.

        Raises:
            CheckpointError: the file is missing, or its names or shapes are not those of this encoder.
        """
