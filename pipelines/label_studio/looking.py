"""Looking at the images of tasks, each of them once: profiles that were made before are taken as they are."""

from hashlib import sha256
from typing import Any

from maskloop.errors import MaskloopError
from maskloop.images import decode_image
from maskloop.selection import Describer, Profile, described, profile
from maskloop.selection.store import ProfileStore
from pipelines.label_studio.preannotation import ImageSource

Task = dict[str, Any]


class Looking:
    """Looks at the images of tasks, and counts how often it had to.

    looked: images that had to be looked at, as no profile of theirs was kept.
    failed: tasks whose image could not be read, and why.
    """

    def __init__(
        self, images: ImageSource, segmenter: Describer, store: ProfileStore, key: str, server: str
    ) -> None:
        self._images, self._segmenter, self._store = images, segmenter, store
        self._key, self._server = key, server
        self.looked = 0
        self.failed: list[str] = []

    def profile(self, task: Task, clicks: bool = True) -> Profile | None:
        """The profile of a task's image; without `clicks` it needs no probes. None if it cannot be read."""
        reference = str(task["data"].get(self._key, ""))
        known = self._store.image(self._server + reference)
        if known is not None and (kept := self._kept(known, clicks)) is not None:
            return kept
        try:
            data = self._images.image(reference)
            digest = sha256(data).hexdigest()
            made = self._kept(digest, clicks) or self._look(data, digest, clicks)
        except MaskloopError as error:
            self.failed.append(f"task {task['id']}: {error}")
            return None
        self._store.remember(self._server + reference, digest)
        return made

    def _kept(self, digest: str, clicks: bool) -> Profile | None:
        kept = self._store.get(digest)
        return kept if kept is not None and (len(kept.probes) or not clicks) else None

    def _look(self, data: bytes, digest: str, clicks: bool) -> Profile:
        image = decode_image(data)
        made = profile(self._segmenter, image) if clicks else described(self._segmenter, image)
        self._store.put(digest, made)
        self.looked += 1
        return made
