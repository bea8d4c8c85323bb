"""Training images with their object masks, kept encoded in memory and decoded when drawn."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Generator, Tensor

from maskloop.datasets import categories
from maskloop.errors import DatasetError
from maskloop.images import decode_image
from maskloop.masks import decode_coco
from maskloop.views import Scene

COLUMNS = ["image_id", "source", "split", "height", "width", "image", "objects"]
MIN_AREA = 200
"""Objects of fewer pixels are not drawn as targets, unless told otherwise: they are mostly rounding."""
STUFF: Mapping[str, Collection[str]] = dict.fromkeys(("coco", "base"), categories.STUFF)
"""Categories of each source that are stuff: regions such as sky, instead of objects."""
STUFF_SHARE = 0.3
"""Share of drawn images whose stuff counts as objects; in the others it is background."""


class Corpus:
    """Images with masks from Parquet shards, drawn by source so that no source drowns the others."""

    def __init__(
        self,
        table: pd.DataFrame,
        shares: Mapping[str, float] | None = None,
        stuff: Mapping[str, Collection[str]] = STUFF,
        min_area: int = MIN_AREA,
    ) -> None:
        table = table[[any(item["area"] >= min_area for item in objects) for objects in table["objects"]]]
        if table.empty:
            raise DatasetError(
                f"no image has an object of at least {min_area} pixels; collect larger masks first"
            )
        self._rows = table.reset_index(drop=True)
        groups = {str(source): list(group) for source, group in self._rows.groupby("source").groups.items()}
        shares = shares or {source: float(len(rows)) for source, rows in groups.items()}
        unknown = sorted(set(shares) - set(groups))
        if unknown:
            raise DatasetError(
                f"no images of source {unknown[0]!r}; sources here are {', '.join(sorted(groups))}"
            )
        self._groups = [groups[source] for source in shares]
        self._shares = torch.tensor(list(shares.values()), dtype=torch.float)
        self._stuff = stuff
        self._min_area = min_area

    @classmethod
    def read(
        cls,
        path: Path,
        split: str = "train",
        shares: Mapping[str, float] | None = None,
        stuff: Mapping[str, Collection[str]] = STUFF,
        min_area: int = MIN_AREA,
    ) -> "Corpus":
        """Read shards of one split.

        Args:
            path: a Parquet file, or a folder of them.
            split: the rows that are read.
            shares: relative weight of each source that is drawn from; all sources by their size when not
                given.
            stuff: categories of each source that are stuff.
            min_area: pixels that an object must have to be drawn as a target.
        """
        files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        if not files or not files[0].is_file():
            raise DatasetError(
                f"no Parquet shard at {path}; give a .parquet file or a folder that holds some"
            )
        tables = [pd.read_parquet(file, columns=COLUMNS, filters=[("split", "==", split)]) for file in files]
        table = pd.concat(tables)
        if shares:
            table = table[table["source"].isin(list(shares))]
        if table.empty:
            wanted = f"split {split!r}" + (f" and sources {', '.join(shares)}" if shares else "")
            raise DatasetError(f"no row of {wanted} in {path}")
        return cls(table, shares, stuff, min_area)

    def __len__(self) -> int:
        return len(self._rows)

    def draw(self, generator: Generator) -> Scene:
        """A random image: a source by its share, then an image of it, uniformly."""
        number, chosen = self.pick(generator)
        size, objects = self.size(number), [self.objects(number)[index] for index in chosen]
        return Scene(self.image(number), _Masks(objects, *size), clicks_of(objects))

    def pick(self, generator: Generator) -> tuple[int, list[int]]:
        """The number of a random image, and those of its objects that are drawn with it."""
        group = self._groups[int(torch.multinomial(self._shares, 1, generator=generator))]
        number = group[int(torch.randint(len(group), (1,), generator=generator))]
        return number, self._choose(str(self._cell(number, "source")), self.objects(number), generator)

    def size(self, number: int) -> tuple[int, int]:
        """Rows and columns of an image, as recorded."""
        return int(self._cell(number, "height")), int(self._cell(number, "width"))

    def image(self, number: int) -> Tensor:
        """Decode an image, (3, H, W) uint8; DatasetError when it has not the size that is recorded."""
        image, size = decode_image(self._cell(number, "image")), self.size(number)
        if image.shape[:2] != size:
            raise DatasetError(f"an image of {image.shape[:2]} is recorded as {size}; write the shard again")
        return torch.from_numpy(image).permute(2, 0, 1)

    def objects(self, number: int) -> Sequence[Mapping[str, Any]]:
        """All objects of an image: rle, category, area, and clicks if there are any."""
        objects: Sequence[Mapping[str, Any]] = self._cell(number, "objects")
        return objects

    def _cell(self, number: int, column: str) -> Any:
        return self._rows.at[number, column]

    def _choose(self, source: str, objects: Sequence[Mapping[str, Any]], generator: Generator) -> list[int]:
        """The objects that are large enough; most times without stuff, unless there is nothing else."""
        large = [index for index, item in enumerate(objects) if item["area"] >= self._min_area]
        stuff = self._stuff.get(source, ())
        things = [index for index in large if objects[index]["category"] not in stuff]
        if len(things) in (0, len(large)) or float(torch.rand((), generator=generator)) < STUFF_SHARE:
            return large
        return things


def clicks_of(objects: Sequence[Mapping[str, Any]]) -> Sequence[Tensor]:
    """Of each object the clicks that people gave, (N, 3); empty where no object has any."""
    clicks = [_signed(item.get("clicks")) for item in objects]
    return clicks if any(map(len, clicks)) else ()


def _signed(clicks: Sequence[Mapping[str, Any]] | None) -> Tensor:
    """Clicks as rows of (row, col, sign); shards of before clicks were kept have None."""
    found = [] if clicks is None else clicks
    rows = [(click["row"], click["col"], 1.0 if click["positive"] else -1.0) for click in found]
    return torch.tensor(rows, dtype=torch.float).reshape(-1, 3)


class _Masks:
    """Masks (H, W) bool of a row's objects, each decoded when it is asked for."""

    def __init__(self, objects: Sequence[Mapping[str, Any]], height: int, width: int) -> None:
        self._objects = objects
        self._size = [height, width]

    def __len__(self) -> int:
        return len(self._objects)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(decode_coco({"size": self._size, "counts": self._objects[index]["rle"]}))
