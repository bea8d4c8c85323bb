"""Files of Label Studio, fetched with its token.

The address comes from task data, which any annotator or import may write, and the request carries a token.
So only Label Studio's own origin is asked, redirects are followed by hand and checked in the same way, and
what is read is bounded.
"""

import asyncio
from dataclasses import dataclass

import httpx

from ml_backend.credentials import Credentials
from ml_backend.errors import RequestError, UnavailableImageError, UnreachableError

MAX_BYTES = 64 * 2**20
TIMEOUT = httpx.Timeout(20.0, connect=5.0)
ATTEMPTS = 3
_MAX_REDIRECTS = 3


@dataclass(frozen=True)
class _Reply:
    status: int
    location: str
    body: bytes


class LabelStudio:
    """A client that downloads files. It is used from one event loop."""

    def __init__(
        self,
        url: str,
        token: str,
        transport: httpx.AsyncBaseTransport | None = None,
        max_bytes: int = MAX_BYTES,
        back_off_seconds: float = 0.2,
    ) -> None:
        self._url = url
        self._credentials = Credentials(url, token)
        # A transport of its own leaves out the proxies of the environment: they must not see the token.
        self._client = httpx.AsyncClient(timeout=TIMEOUT, transport=transport or httpx.AsyncHTTPTransport())
        self._max_bytes = max_bytes
        self._back_off_seconds = back_off_seconds

    async def download(self, address: str) -> bytes:
        """The bytes of a file.

        Args:
            address: a path on Label Studio, such as `/data/upload/1/a.png`, or its whole URL.

        Raises:
            RequestError: the address is not Label Studio's.
            UnavailableImageError: Label Studio refuses or does not have it, or it is too large.
            UnreachableError: Label Studio is not reached, or fails.
        """
        url = self._own(address)
        for _ in range(_MAX_REDIRECTS + 1):
            reply = await self._get_authorized(url)
            if not reply.location:
                _check_status(reply.status, url)
                return reply.body
            url = self._own(str(url.join(reply.location)))
        raise UnavailableImageError(f"{url.path} is redirected more than {_MAX_REDIRECTS} times.")

    async def close(self) -> None:
        await self._client.aclose()

    def _own(self, address: str) -> httpx.URL:
        """The URL of an address, if it is one of Label Studio's origin."""
        if not self._url:
            raise RequestError(
                f"The image {_short(address)} cannot be fetched: set MASKLOOP_LABEL_STUDIO_URL to the "
                "address of Label Studio."
            )
        home = httpx.URL(self._url)
        try:
            url = home.join(address)
        except (httpx.InvalidURL, ValueError) as error:
            raise RequestError(f"The image address {_short(address)} is no address: {error}.") from error
        if _origin(url) != _origin(home):
            raise RequestError(
                f"The image {_short(address)} is not on Label Studio at {self._url}, and no other "
                "host is asked. Upload the image to Label Studio, or import it through a storage that Label "
                "Studio serves itself."
            )
        return url

    async def _get_authorized(self, url: httpx.URL) -> _Reply:
        reply = await self._get_retrying(url)
        if reply.status == httpx.codes.UNAUTHORIZED and self._credentials.refreshes:
            self._credentials.forget()
            reply = await self._get_retrying(url)
        return reply

    async def _get_retrying(self, url: httpx.URL) -> _Reply:
        for attempt in range(ATTEMPTS):
            try:
                return await self._get(url)
            except httpx.TransportError as error:
                failure = str(error) or type(error).__name__
            if attempt < ATTEMPTS - 1:
                await asyncio.sleep(self._back_off_seconds * 2**attempt)
        raise UnreachableError(
            f"Label Studio at {self._url} is not reached, {ATTEMPTS} attempts: {failure}. Is it running, and "
            "is MASKLOOP_LABEL_STUDIO_URL its address as seen from this service?"
        )

    async def _get(self, url: httpx.URL) -> _Reply:
        headers = await self._credentials.headers(self._client)
        async with self._client.stream("GET", url, headers=headers) as response:
            if response.has_redirect_location:
                return _Reply(response.status_code, response.headers["location"], b"")
            body = bytearray()
            try:
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > self._max_bytes:
                        raise UnavailableImageError(
                            f"{url.path} is larger than {self._max_bytes} bytes: scale the image down."
                        )
            except httpx.DecodingError as error:
                raise UnreachableError(f"{url.path} arrives damaged: {error}.") from error
            return _Reply(response.status_code, "", bytes(body))


def _check_status(status: int, url: httpx.URL) -> None:
    if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        raise UnavailableImageError(
            f"Label Studio refuses {url.path} with HTTP {status}: check MASKLOOP_LABEL_STUDIO_TOKEN. A "
            "legacy token works only while legacy tokens are enabled; a personal access token always does."
        )
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise UnreachableError(
            f"Label Studio answers {url.path} with HTTP {status}: the file may be gone; its log tells more."
        )
    if status != httpx.codes.OK:
        raise UnavailableImageError(
            f"Label Studio answers {url.path} with HTTP {status}: is the file still there?"
        )


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    default = {"http": 80, "https": 443}.get(url.scheme)
    return url.scheme, url.host, url.port or default


def _short(address: str) -> str:
    """An address for a message: without its query, which may hold a signature, and not endless."""
    return repr(address.partition("?")[0][:120])
