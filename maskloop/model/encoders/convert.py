"""Published weights once and for all to safetensors, checked and without what the encoder has no use for.

    python -m maskloop.model.encoders.convert tiny_vit_5m mobile_sam.pt tiny_vit_5m.safetensors

`Encoder.load_imagenet` reads the result as it reads the published file.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save_file

from maskloop.errors import CheckpointError
from maskloop.model.encoders import ENCODERS, build_encoder


def convert(name: str, source: Path, target: Path) -> None:
    """Write the weights of an encoder as `.safetensors`.

    Args:
        name: of the encoder.
        source: the published file.
        target: is written; its folder must exist.

    Raises:
        CheckpointError: the source does not hold this encoder, or the target has no folder.
    """
    encoder = build_encoder(name)
    encoder.load_imagenet(source)
    if not target.parent.is_dir():
        raise CheckpointError(f"{target.parent} is no folder; make it first")
    save_file(encoder.state_dict(), target)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 1 when the source does not fit."""
    parser = ArgumentParser(
        prog="python -m maskloop.model.encoders.convert", description="Published weights to safetensors."
    )
    parser.add_argument("name", choices=sorted(ENCODERS))
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    options = parser.parse_args(arguments)
    try:
        convert(options.name, options.source, options.target)
    except CheckpointError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
