"""Inference protocols: how often the network runs at a click, and on which region of the image."""

from dataclasses import dataclass
from typing import Literal

Pass = Literal["full", "zoom", "ritm", "focus"]


@dataclass(frozen=True)
class Protocol:
    """What the network is run on at one click.

    `full` is the whole image, `zoom` the region that the mask of the pass before asks for (CSFPN), `focus`
    the surroundings of what the newest click changed (FocusCut). `ritm` is the one pass of RITM: the whole
    image at the first click, and then the region of the mask that the click before left.
    """

    passes: tuple[Pass, ...]
    flip: bool = False
    """Average the logits with those of the mirrored image."""
    native: bool = False
    """Show the whole image at its own size instead of the checkpoint's `long_side`."""
    zoom_side: int | None = None
    """Longer side of zoomed regions in pixels of the network; None: the checkpoint's `long_side`."""


PROTOCOLS = {
    "single": Protocol(("full",)),
    "csfpn": Protocol(("full", "zoom")),
    "csfpn_flip": Protocol(("full", "zoom"), flip=True),
    "focus": Protocol(("full", "zoom", "focus")),
    "ritm": Protocol(("ritm",)),
    "ritm_flip": Protocol(("ritm",), flip=True),
    # sizes of the published scripts, for networks as large as theirs; CSFPN's script clears what the zoomed
    # region leaves out, here the first pass's mask stays
    "csfpn_published": Protocol(("full", "zoom"), flip=True, native=True, zoom_side=400),
    "ritm_published": Protocol(("ritm",), flip=True, native=True, zoom_side=400),
}
