"""The token of Label Studio, as the header that a request carries.

Label Studio has two kinds. A legacy token is sent as it is. A personal access token is a refresh token: it is
exchanged for an access token of 300 seconds, and refused when sent itself.
"""

import asyncio
import time

import httpx

from ml_backend.errors import UnavailableImageError, UnreachableError

_ACCESS_SECONDS = 240.0
"""How long an access token is used: a minute less than it lives."""


class Credentials:
    """The authorization header of one Label Studio. Access tokens are kept until they are about to expire."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token
        self._access = ""
        self._expires = 0.0
        self._lock = asyncio.Lock()

    @property
    def refreshes(self) -> bool:
        """Whether the token is a personal access token: a JWT, three parts with dots between."""
        return self._token.count(".") == 2

    async def headers(self, client: httpx.AsyncClient) -> dict[str, str]:
        """The header to send.

        Raises:
            UnavailableImageError: Label Studio does not exchange the token.
            UnreachableError: Label Studio answers the exchange with something else than a token.
            httpx.TransportError: Label Studio is not reached.
        """
        if not self._token:
            return {}
        if not self.refreshes:
            return {"Authorization": f"Token {self._token}"}
        async with self._lock:
            if time.monotonic() >= self._expires:
                self._access = await self._refresh(client)
                self._expires = time.monotonic() + _ACCESS_SECONDS
            return {"Authorization": f"Bearer {self._access}"}

    def forget(self) -> None:
        """Drop the access token: the next header asks for a fresh one."""
        self._expires = 0.0

    async def _refresh(self, client: httpx.AsyncClient) -> str:
        reply = await client.post(f"{self._url}/api/token/refresh", json={"refresh": self._token})
        if reply.status_code in {401, 403}:
            raise UnavailableImageError(
                f"Label Studio refuses MASKLOOP_LABEL_STUDIO_TOKEN with HTTP {reply.status_code}: create "
                "a new personal access token on its Account page."
            )
        try:
            return str(reply.raise_for_status().json()["access"])
        except (httpx.HTTPStatusError, ValueError, KeyError, TypeError) as error:
            raise UnreachableError(
                f"Label Studio answers the token exchange with HTTP {reply.status_code} and no access token: "
                f"is {self._url} a Label Studio?"
            ) from error
