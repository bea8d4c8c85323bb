"""A checkpoint that looks at whole images with MobileSAM's network and zooms in with its own.

    python -m maskloop.prompting checkpoints/small mobile_sam.pt models/mine

Nothing is trained: the look is MobileSAM's as published, the network that zooms in is the checkpoint's.
`maskloop train --start models/mine` trains the latter on.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from maskloop.checkpoint import PROMPTED, load_checkpoint, save_checkpoint
from maskloop.errors import CheckpointError
from maskloop.model import CSFPN, ModelConfig
from maskloop.model.prompted import PromptedViT


def prompt(
    start: Path,
    published: Path,
    out: Path,
    name: str,
    side: int | None = None,
    eight_bits: bool = False,
) -> None:
    """Write the checkpoint.

    Args:
        start: the checkpoint whose network zooms in; of a finetuned cascade it is the fine one.
        published: MobileSAM's weights, `mobile_sam.pt`.
        out: folder of the new checkpoint.
        name: of the new checkpoint, shown in versions.
        side: longer side in pixels at which whole images are looked at; None: the default of `ModelConfig`.
        eight_bits: the checkpoint's own weights are stored in eight bits, too.

    Raises:
        CheckpointError: a file does not hold what it should.
    """
    checkpoint = load_checkpoint(start)
    overview_side = side or ModelConfig.overview_side
    config = replace(checkpoint.model.config, cascade="prompted", overview_side=overview_side)
    model = CSFPN(config).eval()
    zooming = checkpoint.model if checkpoint.fine is None else checkpoint.fine
    own = {key: value for key, value in zooming.state_dict().items() if not key.startswith(PROMPTED)}
    model.load_state_dict(own, strict=False)  # of the network itself all: the configurations are the same
    cast(PromptedViT, model.prompted).load_published(published)
    save_checkpoint(
        model, out, name, checkpoint.metadata | {"zooms": checkpoint.sha256}, eight_bits=eight_bits
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 1 when a file does not hold what it should."""
    parser = ArgumentParser(
        prog="python -m maskloop.prompting",
        description="A checkpoint that looks at whole images with MobileSAM's network.",
    )
    parser.add_argument("start", type=Path, help="checkpoint whose network zooms in")
    parser.add_argument("published", type=Path, help="MobileSAM's weights, mobile_sam.pt")
    parser.add_argument("out", type=Path, help="folder of the new checkpoint")
    parser.add_argument("--name", help="shown in versions; the folder's own if left out")
    parser.add_argument("--side", type=int, help="longer side in pixels of what it looks at")
    parser.add_argument("--eight-bits", action="store_true", help="store all weights so, to be shipped")
    given = parser.parse_args(arguments)
    try:
        name = given.name or given.out.resolve().name
        prompt(given.start, given.published, given.out, name, given.side, given.eight_bits)
    except CheckpointError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
