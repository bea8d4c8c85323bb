"""iShape: six sub-sets of irregular shapes, each with one category and its own COCO-style files.

    <sub-set>/<split>/coco_format-mask_encoding=rle-instances_2017.json
    <sub-set>/<split>/image/

with the sub-sets antenna, branch, fence, hanger, log, wire and the splits train, val. The published archive
links the same file and folder as `coco_format/instances_train2017.json` and `coco_format/train2017`, in `val`
too; a copy that kept only these, or whose JSON has another name, is good as well, and so is the folder of one
sub-set in the place of the root.
"""

from pathlib import Path

from maskloop.datasets.coco import load_instances, readers
from maskloop.datasets.samples import Read, found, unknown_split
from maskloop.errors import DatasetError

SUBSETS = ("antenna", "branch", "fence", "hanger", "log", "wire")
SPLITS = ("train", "val")


def open_ishape(root: Path, split: str | None) -> list[Read]:
    """One reader an instance; its category is the sub-set."""
    subsets = [root] if _splits(root) else [root / name for name in SUBSETS if (root / name).is_dir()]
    present = {name for subset in subsets for name in _splits(subset)}
    if not present:
        raise DatasetError(
            f"{str(root)!r} must hold sub-sets ({', '.join(SUBSETS)}), each with 'train' and 'val', and in"
            f" them COCO-style *.json and 'image'. {found(root)}"
        )
    if split is not None and split not in present:
        raise unknown_split(root, split, present)
    return [
        read
        for subset in subsets
        for name in _splits(subset)
        if split in (None, name)
        for read in _open_subset(subset / name)
    ]


def _splits(subset: Path) -> list[str]:
    return [name for name in SPLITS if (subset / name).is_dir()]


def _open_subset(folder: Path) -> list[Read]:
    linked = folder / "coco_format"
    files = sorted(folder.glob("*.json")) or sorted(linked.glob("*.json"))
    if len(files) != 1:
        raise DatasetError(
            f"{str(folder)!r} must hold one COCO-style *.json, itself or in 'coco_format', not {len(files)}."
            f" {found(folder)}"
        )
    images = [folder / "image", *sorted(path for path in linked.glob("*") if path.is_dir()), folder]
    subset = folder.parent.name
    return readers(load_instances(files[0]), images, prefix=f"{subset}/{folder.name}/", category=subset)
