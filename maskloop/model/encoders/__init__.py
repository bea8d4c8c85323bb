"""Encoders by name."""

from collections.abc import Callable
from functools import partial

from maskloop.errors import CheckpointError
from maskloop.model.encoders.base import Encoder
from maskloop.model.encoders.efficientnet import EfficientNetLite0
from maskloop.model.encoders.hrnet import W18, W18_SMALL, HRNet
from maskloop.model.encoders.resnet import R34, R50, R101, ResNet
from maskloop.model.encoders.tiny_vit import TinyViT

ENCODERS: dict[str, Callable[[], Encoder]] = {
    "efficientnet_lite0": EfficientNetLite0,
    "hrnet18": partial(HRNet, W18),
    "hrnet18s": partial(HRNet, W18_SMALL),
    "resnet34": partial(ResNet, R34),
    "resnet50": partial(ResNet, R50),
    "resnet101": partial(ResNet, R101),
    "tiny_vit_5m": TinyViT,
}


def build_encoder(name: str) -> Encoder:
    """A fresh encoder; CheckpointError on an unknown name."""
    if name not in ENCODERS:
        raise CheckpointError(f"unknown encoder {name!r}; known are {', '.join(sorted(ENCODERS))}")
    return ENCODERS[name]()


__all__ = ["ENCODERS", "Encoder", "build_encoder"]
