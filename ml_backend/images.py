"""Images of tasks: an address to pixels, fetched and decoded once and kept in bounded memory."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from maskloop.arrays import Image
from maskloop.errors import ImageError
from maskloop.images import MAX_PIXELS, decode_image
from ml_backend.cache import ArrayCache

CACHE_BYTES = 512 * 2**20

FRESH_SECONDS = 600.0
"""How long an address stands for the file it led to. Uploads never change, but an object of a cloud storage
can be written anew, or be withdrawn. Within one sitting at a task nobody expects that; after it the file is
asked for again. Equal bytes are not decoded again."""

MAX_ADDRESSES = 1024
"""Addresses remembered: 8 MiB at most, and more images than the memory for pixels holds."""

_DECODERS = 2
"""Images decoded at a time: bounds the memory that many requests at once can ask for."""


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """An image that requests share: nobody writes to its pixels."""

    pixels: Image
    """(H, W, 3) uint8 RGB, EXIF orientation applied."""

    sha256: str
    """Of the file's bytes, in hex."""

    @property
    def nbytes(self) -> int:
        """Of the pixels."""
        return self.pixels.nbytes


class Source(Protocol):
    """Where files come from: `LabelStudio`."""

    async def download(self, address: str, task: int | str | None = None) -> bytes: ...

    async def close(self) -> None: ...


class Images:
    """The images of tasks. It is used from one event loop; decoding runs beside it."""

    def __init__(
        self,
        source: Source,
        cache_bytes: int = CACHE_BYTES,
        max_pixels: int = MAX_PIXELS,
        on_cache: Callable[[bool], None] | None = None,
        fresh_seconds: float = FRESH_SECONDS,
    ) -> None:
        """
        Args:
            source: of the files; it is closed together with this.
            cache_bytes: of decoded pixels kept.
            max_pixels: of an image.
            on_cache: is told of each `load` whether the pixels were there.
            fresh_seconds: how long an address is not asked for again.
        """
        self._source = source
        self._max_pixels = max_pixels
        self._on_cache = on_cache
        self._cache: ArrayCache[LoadedImage] = ArrayCache(cache_bytes)
        self._digests = _Digests(fresh_seconds)
        self._loading: dict[Hashable, asyncio.Task[LoadedImage]] = {}
        self._decoders = ThreadPoolExecutor(_DECODERS, thread_name_prefix="decoding")

    @property
    def size(self) -> int:
        """Bytes of pixels that are kept now."""
        return self._cache.size

    @property
    def cache_bytes(self) -> int:
        """How many bytes of pixels are kept at most."""
        return self._cache.capacity

    async def load(self, address: str, task: int | str | None = None) -> LoadedImage:
        """The image at an address.

        Args:
            address: as `LabelStudio.download` takes it.
            task: the id of the task whose image it is; cloud storages need it.

        Raises:
            RequestError: an address that is not fetched.
            UnavailableImageError: its host does not hand it out.
            UnreachableError: its host does not answer.
            ImageError: the bytes are no image, or one of too many pixels.
        """
        key = _key(address, task)
        image = self._kept(key)
        if self._on_cache is not None:
            self._on_cache(image is not None)
        return image or await self._load_once(key, address, task)

    async def load_ahead(self, address: str, task: int | str | None = None) -> LoadedImage:
        """As `load`, for a click that may come: it does not count as hit or miss."""
        key = _key(address, task)
        return self._kept(key) or await self._load_once(key, address, task)

    async def close(self) -> None:
        for loading in self._loading.values():
            loading.cancel()
        await asyncio.gather(*self._loading.values(), return_exceptions=True)
        self._decoders.shutdown(wait=False, cancel_futures=True)
        await self._source.close()

    def _kept(self, key: Hashable) -> LoadedImage | None:
        digest = self._digests.get(key)
        return None if digest is None else self._cache.get(digest)

    async def _load_once(self, key: Hashable, address: str, task: int | str | None) -> LoadedImage:
        """Load, or wait for a load of the same that is under way.

        A caller that is cancelled leaves the load running: the next click wants the same image.
        """
        loading = self._loading.get(key)
        if loading is None:
            loading = asyncio.create_task(self._load(key, address, task))
            self._loading[key] = loading
            loading.add_done_callback(lambda done: self._forget_load(key, done))
        return await asyncio.shield(loading)

    def _forget_load(self, key: Hashable, done: asyncio.Task[LoadedImage]) -> None:
        del self._loading[key]
        if not done.cancelled():
            done.exception()  # asked for, so that a failure whose callers all went is not reported as lost

    async def _load(self, key: Hashable, address: str, task: int | str | None) -> LoadedImage:
        data = await self._source.download(address, task)
        in_thread = asyncio.get_running_loop().run_in_executor
        digest = await in_thread(self._decoders, _sha256, data)
        image = self._cache.get(digest)
        if image is None:
            pixels = await in_thread(self._decoders, decode_untrusted, data, self._max_pixels)
            image = LoadedImage(pixels, digest)
            self._cache.put(digest, image)
        self._digests.put(key, digest)
        return image


class _Digests:
    """The digests of the files that addresses led to, for a while."""

    def __init__(self, fresh_seconds: float) -> None:
        self._fresh_seconds = fresh_seconds
        self._entries: OrderedDict[Hashable, tuple[str, float]] = OrderedDict()

    def get(self, key: Hashable) -> str | None:
        digest, expires = self._entries.get(key, ("", 0.0))
        return digest if time.monotonic() < expires else None

    def put(self, key: Hashable, digest: str) -> None:
        self._entries.pop(key, None)
        self._entries[key] = digest, time.monotonic() + self._fresh_seconds
        while len(self._entries) > MAX_ADDRESSES:
            self._entries.popitem(last=False)


def decode_untrusted(data: bytes, max_pixels: int = MAX_PIXELS) -> Image:
    """`decode_image`, for bytes that are made to take all memory or time.

    Raises:
        ImageError: the bytes are no image, or ask for more than an image needs.
    """
    try:
        return decode_image(data, max_pixels)
    except MemoryError as error:
        raise ImageError(f"The image of {len(data)} bytes asks for more memory than there is.") from error


def _key(address: str, task: int | str | None) -> Hashable:
    """What an address is remembered by: storages of two projects may give one cloud URI different files.

    A `data:` URI may be long, so its digest stands for it.
    """
    if address.startswith("data:"):
        return _sha256(address.encode())
    return (address, str(task)) if not address.startswith(("/", "http")) else address


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
