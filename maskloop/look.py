"""The first pass of a prompted cascade: a whole image is encoded once, clicks on it are answered soon."""

from torch import Tensor

from maskloop.engines import open_engine
from maskloop.errors import CheckpointError
from maskloop.model.layers import resize
from maskloop.model.prompted import PromptedViT
from maskloop.protocols import PROTOCOLS


class Look:
    """A `PromptedViT`, run by engines."""

    def __init__(self, network: PromptedViT, sha256: str, engine: str | None) -> None:
        """Make it ready.

        Args:
            network: folded.
            sha256: of the weights, by which features are told from those of others.
            engine: as of `Predictor`.
        """
        self.encode = open_engine(network, engine, "encode")
        self._decode = open_engine(network, engine, "decode")
        self.sha256 = sha256

    def answer(self, features: Tensor, previous: Tensor, clicks: Tensor) -> Tensor:
        """Mask logits (B, 1, H, W) of images whose features `encode` made; as `PromptedViT.decode`."""
        return resize(self._decode(features, previous, clicks), previous.shape[-2:])


def check_protocol(name: str) -> None:
    """Raise CheckpointError for a protocol without the whole image, or with it at its own size alone."""
    known = [other for other, one in PROTOCOLS.items() if "full" in one.passes and not one.native]
    if name not in known:
        raise CheckpointError(
            f"protocol {name!r} leaves out the look at the whole image that this checkpoint begins with; "
            f"take {', '.join(known)}"
        )
