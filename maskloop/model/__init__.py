"""The network."""

from maskloop.model.csfpn import CSFPN, Logits, ModelConfig

__all__ = ["CSFPN", "Logits", "ModelConfig"]
