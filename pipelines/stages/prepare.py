"""Prepare: the seed set and the collected masks become `data/prepared/{train,test}.parquet`.

Whether an image is trained on or tested on is decided by its bytes alone, so it is decided the same way in
every round, whatever else there is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maskloop.masks import decode_coco, encode_coco
from pipelines.errors import SnapshotError
from pipelines.seed import SeedImage, seed_images
from pipelines.shards import newest_masks, read_rows
from pipelines.snapshot import read_snapshot
from pipelines.stages.params import read_params

IMAGES = Path("data/images")
PREPARED = Path("data/prepared")
SPLITS = ("train", "test")
LABELLED = "labelled"

OBJECT = pa.struct([("rle", pa.string()), ("category", pa.string()), ("area", pa.int64())])
SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("source", pa.string()),
        ("split", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("image", pa.binary()),
        ("objects", pa.list_(OBJECT)),
    ]
)


@dataclass(frozen=True)
class Picture:
    """One row to be: an encoded image and its objects as COCO run lengths of (height, width)."""

    name: str
    source: str
    data: bytes
    height: int
    width: int
    objects: list[dict[str, Any]]

    @property
    def digest(self) -> str:
        return sha256(self.data).hexdigest()


def main(root: Path = Path()) -> None:
    params = read_params(root, "prepare")
    seed = {picture.digest: picture for picture in map(_seed_picture, seed_images(params["rendered"]))}
    labelled = {picture.digest: picture for picture in _labelled_pictures(root)}
    rows: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for digest in sorted(seed | labelled):
        split = split_of(digest, params["test_percent"])
        # Corrections are what there is to learn. To test on, masks drawn without any model are fairer.
        first, second = (seed, labelled) if split == "test" else (labelled, seed)
        rows[split].append(_row(first.get(digest) or second[digest], split))
    for split in SPLITS:
        _write(root / PREPARED / f"{split}.parquet", rows[split])
        print(
            f"{split}: {len(rows[split])} images, {sum(len(row['objects']) for row in rows[split])} objects"
        )


def split_of(digest: str, test_percent: int) -> str:
    """`train` or `test` for the image whose bytes have this sha256 (hexadecimal)."""
    return "test" if int(digest[:8], 16) % 100 < test_percent else "train"


def _seed_picture(image: SeedImage) -> Picture:
    height, width = image.objects[0][1].shape
    objects = [_object(label, mask) for label, mask in image.objects]
    return Picture(image.name, image.source, image.data, height, width, objects)


def _object(label: str, mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    return {"rle": encode_coco(mask)["counts"], "category": label, "area": int(mask.sum())}


def _labelled_pictures(root: Path) -> Iterator[Picture]:
    """The images that people labelled, with the masks that count."""
    rows = newest_masks(read_rows(root, read_snapshot(root)).to_pandas())
    for digest, group in rows.groupby("image_sha256", sort=True):
        first = group.iloc[0]
        height, width = int(first["height"]), int(first["width"])
        objects = [_stored_object(row, height, width) for _, row in group.iterrows()]
        yield Picture(
            f"image-{str(digest)[:12]}", LABELLED, _stored_image(root, str(digest)), height, width, objects
        )


def _stored_object(row: "pd.Series[Any]", height: int, width: int) -> dict[str, Any]:
    area = int(decode_coco({"size": [height, width], "counts": row["rle"]}).sum())
    return {"rle": row["rle"], "category": row["label"], "area": area}


def _stored_image(root: Path, digest: str) -> bytes:
    for path in (root / IMAGES).glob(f"{digest}.*"):
        data = path.read_bytes()
        if sha256(data).hexdigest() == digest:
            return data
    raise SnapshotError(f"Image {digest} is missing or damaged: get it with 'dvc checkout data/images'.")


def _row(picture: Picture, split: str) -> dict[str, Any]:
    return {
        "image_id": picture.name,
        "source": picture.source,
        "split": split,
        "height": picture.height,
        "width": picture.width,
        "image": picture.data,
        "objects": picture.objects,
    }


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path, compression="zstd")


if __name__ == "__main__":
    main()
