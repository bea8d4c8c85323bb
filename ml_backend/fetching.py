"""One GET, bounded: how many bytes are read, how often it is tried, and whom it may reach."""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx

from ml_backend.addresses import IP, Addresses
from ml_backend.errors import UnavailableImageError, UnreachableError

ATTEMPTS = 3
MAX_CONNECTIONS = 8
"""Downloads at a time from each side: bounds what is held in memory together with the bytes of each."""

TIMEOUT = httpx.Timeout(10.0, connect=5.0, pool=None)
"""Of each step; what bounds the whole is the caller's deadline."""

# Images are compressed already. A compressed transfer would only be a way to send much in little.
_HEADERS = {"Accept-Encoding": "identity"}

# They log whole URLs and answers' headers, and with them the signatures of links.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

Resolver = Callable[[str, int], Awaitable[Sequence[IP]]]


@dataclass(frozen=True)
class Reply:
    """What a server answers: a redirect has a location and no body."""

    status: int
    location: str
    body: bytes


def new_client(keep_alive: bool, transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    """A client that follows no redirect, stores no cookie and uses no proxy.

    A proxy of the environment must not see the token, and behind one the address checked here would not be
    the one that is reached. A transport of its own leaves it out.
    """
    limits = httpx.Limits(
        max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS if keep_alive else 0
    )
    return httpx.AsyncClient(
        timeout=TIMEOUT,
        headers=_HEADERS,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        transport=transport or httpx.AsyncHTTPTransport(limits=limits),
    )


async def read(
    client: httpx.AsyncClient,
    url: httpx.URL,
    name: str,
    max_bytes: int,
    headers: Mapping[str, str] | None = None,
    extensions: dict[str, Any] | None = None,
) -> Reply:
    """Ask once.

    Args:
        client: of `new_client`.
        url: what is asked.
        name: of what is asked, for messages.
        max_bytes: of the answer's body.
        headers: sent beside the client's.
        extensions: of httpx.

    Raises:
        UnavailableImageError: the body is larger, or compressed although that was not asked for.
        httpx.TransportError: the server is not reached, or the connection is lost.
    """
    async with client.stream("GET", url, headers=headers, extensions=extensions) as response:
        if response.has_redirect_location:
            return Reply(response.status_code, response.headers["location"], b"")
        encoding = response.headers.get("content-encoding", "identity").lower()
        if encoding != "identity":
            raise UnavailableImageError(
                f"{name} arrives with the content encoding {encoding[:40]!r}: store the image without one."
            )
        announced = response.headers.get("content-length", "")
        body = bytearray()
        if not announced.isdecimal() or int(announced) <= max_bytes:
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > max_bytes:
                    break
            else:
                return Reply(response.status_code, "", bytes(body))
        raise UnavailableImageError(f"{name} is larger than {max_bytes} bytes: scale the image down.")


async def retry(
    ask: Callable[[int], Awaitable[Reply]], back_off_seconds: float, host: str, remedy: str = ""
) -> Reply:
    """Ask until an answer arrives, at most `ATTEMPTS` times.

    Args:
        ask: is given the number of the attempt, from 0.
        back_off_seconds: before the second attempt; twice as long before the third.
        host: who is asked, for the message of the error.
        remedy: ends the message.

    Raises:
        UnreachableError: none arrives.
    """
    for attempt in range(ATTEMPTS):
        if attempt:
            await asyncio.sleep(back_off_seconds * 2 ** (attempt - 1))
        try:
            return await ask(attempt)
        except httpx.TransportError as error:
            failure = str(error) or type(error).__name__
    raise UnreachableError(f"{host} is not reached, {ATTEMPTS} attempts: {failure}. {remedy}".rstrip())


class Strangers:
    """Hosts other than Label Studio's. They are shown no token, and their addresses are checked.

    A name is resolved once, and the connection goes to the address that was checked: what the name leads to a
    moment later does not matter. No connection is kept, as the next name at the same address is another host.
    """

    def __init__(
        self,
        addresses: Addresses,
        max_bytes: int,
        back_off_seconds: float,
        resolve: Resolver | None = None,
    ) -> None:
        self._addresses = addresses
        self._max_bytes = max_bytes
        self._back_off_seconds = back_off_seconds
        self._resolve = resolve or resolve_host
        self._client = new_client(keep_alive=False)

    async def get(self, url: httpx.URL, name: str) -> Reply:
        """Ask a URL that the allow-list names.

        Raises:
            RequestError: its host leads to an address that is not asked.
            UnavailableImageError: the answer is not accepted.
            UnreachableError: the host has no address, or does not answer.
        """
        peers = await self._resolve(url.raw_host.decode("ascii"), url.port or 0)
        for peer in peers:
            self._addresses.check_peer(peer, url, name)
        headers = {"Host": url.netloc.decode("ascii")}
        extensions = {"sni_hostname": url.raw_host.decode("ascii")}

        async def ask(attempt: int) -> Reply:
            pinned = url.copy_with(host=str(peers[attempt % len(peers)]))
            return await read(self._client, pinned, name, self._max_bytes, headers, extensions)

        return await retry(ask, self._back_off_seconds, f"{url.host}, which holds {name},")

    async def close(self) -> None:
        await self._client.aclose()


async def resolve_host(host: str, port: int) -> Sequence[IP]:
    """The addresses that the system knows for a host, at least one.

    Raises:
        UnreachableError: it knows none.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [ipaddress.ip_address(sockaddr[0]) for _, _, _, _, sockaddr in found]
    except (OSError, ValueError) as error:  # UnicodeError, a ValueError, for a label that is too long
        raise UnreachableError(f"The host {host} of an image has no address: {error}.") from error
