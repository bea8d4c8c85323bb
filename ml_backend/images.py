"""Images of tasks: an address to pixels, decoded once and kept in bounded memory."""

import asyncio
import base64
import binascii
from urllib.parse import unquote_to_bytes

import numpy as np
import numpy.typing as npt

from maskloop.images import decode_image
from ml_backend.cache import ArrayCache
from ml_backend.errors import RequestError
from ml_backend.label_studio import LabelStudio

CACHE_BYTES = 512 * 2**20

Image = npt.NDArray[np.uint8]


class Images:
    """The images of tasks. It is used from one event loop; decoding runs beside it."""

    def __init__(self, label_studio: LabelStudio, cache_bytes: int = CACHE_BYTES) -> None:
        self._label_studio = label_studio
        self._cache: ArrayCache[Image] = ArrayCache(cache_bytes)

    async def load(self, address: str) -> Image:
        """The image at an address, (H, W, 3) uint8 RGB, EXIF orientation applied.

        Args:
            address: a path on Label Studio, its whole URL, or a `data:` URI.

        Raises:
            RequestError: an address that is not fetched.
            UnavailableImageError: Label Studio does not hand it out.
            UnreachableError: Label Studio does not answer.
            ImageError: the bytes are no image.
        """
        if address.startswith("data:"):
            return await asyncio.to_thread(lambda: decode_image(_embedded(address)))
        image = self._cache.get(address)
        if image is None:
            if not address.startswith(("/", "http://", "https://")):
                raise _unknown_address(address)
            data = await self._label_studio.download(address)
            image = await asyncio.to_thread(decode_image, data)
            self._cache.put(address, image)
        return image

    async def close(self) -> None:
        await self._label_studio.close()


def _embedded(address: str) -> bytes:
    """The bytes inside a `data:` URI."""
    header, comma, payload = address.partition(",")
    if not comma:
        raise RequestError(f"The image address {address[:40]!r} is a data URI without a comma and data.")
    data = unquote_to_bytes(payload)
    if not header.endswith(";base64"):
        return data
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise RequestError(f"The image address {header[:40]!r} holds no valid base64: {error}.") from error


def _unknown_address(address: str) -> RequestError:
    return RequestError(
        f"The image address {address.partition('?')[0][:120]!r} is not one that is fetched. Upload the image "
        "to Label Studio, or turn off pre-signed URLs of the storage so that Label Studio serves it itself."
    )
