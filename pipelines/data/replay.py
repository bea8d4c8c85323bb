"""Images from Parquet files of other sets: those that training replays, and those that must not get worse."""

from collections.abc import Callable, Collection, Iterator
from hashlib import sha256
from heapq import nsmallest
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.data.prepared import Picture
from pipelines.errors import SettingsError

COLUMNS = ["image_id", "source", "split", "height", "width", "image", "objects"]
BASE = "base"
_BATCH = 50
"""Images that are read from disk together."""


class OtherImages:
    """The images of one Parquet file, or of a folder of them, that have a split of `splits`.

    parameter: what named the path, for what is said about it.
    """

    def __init__(self, path: Path, parameter: str, wanted: Callable[[str], bool]) -> None:
        self._files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        self._parameter = parameter
        self._wanted = wanted
        if not self._files or not self._files[0].is_file():
            raise SettingsError(
                f"{parameter} of params.yaml is {str(path)!r}: no Parquet file, nor a folder of some; "
                "name one, or leave it empty."
            )

    def draw(self, count: int) -> set[str]:
        """Digests of `count` images, or of all if there are fewer; images that are added displace few.

        Each source gives as many, as far as it has them, so that the largest does not drown the others.
        """
        sources: dict[str, set[str]] = {}
        for row in self._read(["split", "source", "image"]):
            sources.setdefault(row["source"], set()).add(sha256(row["image"]).hexdigest())
        ranked = (place for digests in sources.values() for place in enumerate(sorted(digests)))
        return {digest for _, digest in nsmallest(count, ranked)}

    def pictures(
        self, source: str | None = None, digests: Collection[str] | None = None
    ) -> Iterator[Picture]:
        """The images with their objects; once each, of those with `digests` where given.

        Args:
            source: is written instead of the source that a row names.
            digests: sha256 of the images that are wanted.
        """
        seen: set[str] = set()
        for row in self._read(COLUMNS):
            digest = sha256(row["image"]).hexdigest()
            if digest in seen or (digests is not None and digest not in digests):
                continue
            seen.add(digest)
            objects = [_object(item) for item in row["objects"]]
            name = f"{row['source']}-{row['image_id']}"
            yield Picture(name, source or row["source"], row["image"], row["height"], row["width"], objects)

    def _read(self, columns: list[str]) -> Iterator[dict[str, Any]]:
        found = False
        for path in self._files:
            try:
                for batch in pq.ParquetFile(path).iter_batches(_BATCH, columns=columns):
                    rows = [row for row in batch.to_pylist() if self._wanted(row["split"])]
                    found = found or bool(rows)
                    yield from rows
            except (OSError, KeyError, pa.ArrowException) as error:
                raise SettingsError(
                    f"{self._parameter} of params.yaml names {str(path)!r}, no shard of images: {error!r}."
                ) from error
        if not found:
            raise SettingsError(
                f"{self._parameter} of params.yaml names {str(self._files[0])!r}, where no image is of a "
                "split that is wanted; name another file."
            )


class Replayed:
    """The images that training replays: a fixed draw out of `prepare.base`, none where that is empty."""

    def __init__(self, root: Path, path: str, count: int) -> None:
        self._images = (
            OtherImages(root / path, "prepare.base", lambda split: split == "train") if path else None
        )
        self.digests = self._images.draw(count) if self._images else set()

    def pictures(self) -> Iterator[Picture]:
        """The images with their objects, by the source `base`."""
        if self._images:
            yield from self._images.pictures(BASE, self.digests)


def _object(item: dict[str, Any]) -> dict[str, Any]:
    return {name: item[name] for name in ("rle", "category", "area")} | {"clicks": item.get("clicks") or []}
