"""Samples: an image with the mask of one object, read from the datasets that people measure clicks on.

`open_dataset` knows the datasets in `DATASETS` by name. The module of each says which files it expects.
Opening a dataset reads its index. An image is decoded when a sample of it is asked for, and kept for a while,
so that the objects of one image cost one decoding. `write_parquet` turns any of them into training data.
"""

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

from maskloop.datasets.coco import open_coco
from maskloop.datasets.folders import open_berkeley, open_coco_mval, open_davis, open_grabcut
from maskloop.datasets.ishape import open_ishape
from maskloop.datasets.samples import Read, Sample, Samples
from maskloop.datasets.sbd import open_sbd
from maskloop.datasets.shards import open_parquet, write_parquet
from maskloop.datasets.sstem import open_sstem
from maskloop.errors import DatasetError

__all__ = ["DATASETS", "Sample", "Samples", "open_dataset", "write_parquet"]

_OPENERS: dict[str, Callable[[Path, str | None], Iterable[Read]]] = {
    "parquet": open_parquet,
    "grabcut": open_grabcut,
    "berkeley": open_berkeley,
    "davis": open_davis,
    "sbd": open_sbd,
    "coco": open_coco,
    "coco_mval": open_coco_mval,
    "ishape": open_ishape,
    "sstem": open_sstem,
}

DATASETS = tuple(_OPENERS)
"""Names that `open_dataset` knows."""


def open_dataset(name: str, root: Path | str, split: str | None = None, limit: int | None = None) -> Samples:
    """Open a dataset by name.

    Args:
        name: one of `DATASETS`.
        root: the folder that holds it; for `parquet` a single shard and for `coco` a JSON file is good too.
        split: only samples of this split: of `parquet` what its rows say; `train` or `val` of `sbd` and
            `ishape`; `seen` or `unseen` categories of `coco` and `coco_mval`. The others have none.
        limit: only so many samples, the first.

    Raises:
        DatasetError: the name is unknown, or `root` does not hold such a dataset. Reading a sample raises it
            too, when its image or mask is damaged, the two differ in size, or the mask is empty.
    """
    if limit is not None and limit < 1:
        raise DatasetError(f"A limit of {limit} samples leaves none: give 1 or more.")
    if name not in _OPENERS:
        raise DatasetError(f"Unknown dataset {name!r}. Known: {', '.join(DATASETS)}.")
    samples = Samples(list(islice(_OPENERS[name](Path(root), split), limit)))
    if not samples:
        raise DatasetError(f"{str(root)!r} holds no object that could be clicked on.")
    return samples
