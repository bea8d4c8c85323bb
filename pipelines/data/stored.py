"""Stored images: `data/images`, each under the digest of its bytes."""

from hashlib import sha256
from pathlib import Path

from pipelines.errors import SnapshotError

IMAGES = Path("data/images")


class StoredImages:
    """The collected images by the sha256 of their bytes; the folder is listed once."""

    def __init__(self, root: Path) -> None:
        folder = root / IMAGES
        self._paths = {path.stem: path for path in folder.iterdir()} if folder.is_dir() else {}

    def read(self, digest: str) -> bytes:
        """The bytes of an image.

        Raises:
            SnapshotError: it is not there, or its bytes are others.
        """
        path = self._paths.get(digest)
        data = path.read_bytes() if path is not None and path.is_file() else b""
        if sha256(data).hexdigest() != digest:
            raise SnapshotError(
                f"Image {digest} is missing or damaged: get it with 'dvc checkout data/images'."
            )
        return data
