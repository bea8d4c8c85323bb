"""Space: whether the disk has room for a retrain, asked before it takes hours and fails at the end."""

import shutil
from pathlib import Path

from pipelines.errors import SpaceError

COPIES = 3
"""Of the collected data: prepared for training, in DVC's cache, and in its remote, which is a folder here."""
MEGABYTE = 1 << 20


def check_space(root: Path, spare: int) -> None:
    """See that the disk of `root` holds what a retrain on its data writes, and `spare` megabytes besides.

    Raises:
        SpaceError: it does not; nothing was written yet.
    """
    data = sum(path.stat().st_size for path in (root / "data").rglob("*") if path.is_file())
    wanted = COPIES * data // MEGABYTE + spare
    free = shutil.disk_usage(root).free // MEGABYTE
    if free < wanted:
        raise SpaceError(
            f"The disk of {root} has {free} MB free, a retrain wants {wanted}: make room (`dvc gc "
            "--all-branches` drops what no branch names), or lower MASKLOOP_SPARE_MB. Nothing is lost: Label "
            "Studio holds what people labelled."
        )
