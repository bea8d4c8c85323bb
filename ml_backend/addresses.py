"""Addresses of images: which of them are asked for, and where.

An address comes from task data, which any annotator or import may write, or from a redirect. Label Studio's
own origin is trusted with the token. Every other host must be named by MASKLOOP_IMAGE_HOSTS, and must not
turn out to be inside the network of this service: see `Addresses.check_peer`.
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

import httpx

from ml_backend.errors import RequestError, UnavailableImageError

IP = ipaddress.IPv4Address | ipaddress.IPv6Address

CLOUD_SCHEMES = ("s3", "gs", "azure-blob")
"""Of the storages for which Label Studio 1.23 makes or proxies links."""

MAX_ADDRESS = 8192
"""Characters; a pre-signed link with a session token has some 2000, and many servers refuse longer lines."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
_PUBLIC_IPV6 = ipaddress.IPv6Network("2000::/3")
# Teredo and 6to4 carry an IPv4 address inside, and no image host has needed either for years.
_TUNNELS = (ipaddress.IPv6Network("2001::/32"), ipaddress.IPv6Network("2002::/16"))
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True)
class _Entry:
    """A host of the allow-list; without a port it stands for the default ports of http and https."""

    host: str | IP
    port: int | None

    @classmethod
    def parse(cls, text: str) -> "_Entry":
        url = httpx.URL(f"//{text}")
        return cls(_host_key(url), url.port)

    def names(self, host: str | IP, url: httpx.URL) -> bool:
        return self.host == host and _port(url) == (self.port or _DEFAULT_PORTS[url.scheme])


class Addresses:
    """The rules by which an address becomes a URL that may be asked."""

    def __init__(self, home: str, hosts: Sequence[str] = ()) -> None:
        """
        Args:
            home: the URL of Label Studio, or nothing.
            hosts: `host` or `host:port`. A name that leads to a private address is refused unless that
                address is in the list too, by its number (and with the same port).
        """
        self._home = httpx.URL(home) if home else None
        self._entries = [_Entry.parse(host) for host in hosts]

    def url(self, address: str, task: int | str | None = None) -> httpx.URL:
        """The URL that is asked for an address of task data.

        Args:
            address: a path on Label Studio, a whole URL, or the URI of an object in a cloud storage.
            task: the id of the task, which Label Studio wants to know for a cloud storage.

        Raises:
            RequestError: the address is not asked for.
        """
        name = short(address)
        if len(address) > MAX_ADDRESS:
            raise RequestError(f"The image address {name} has {len(address)} characters, over {MAX_ADDRESS}.")
        scheme = address.partition("://")[0] if "://" in address else ""
        if scheme in CLOUD_SCHEMES:
            return self._presign(address, task)
        if not address.startswith(("/", "http://", "https://")):
            raise RequestError(
                f"The image address {name} is not one that is fetched: it must be a path on Label Studio, or "
                f"begin with http://, https://, data: or one of {', '.join(CLOUD_SCHEMES)}. Upload the image "
                "to Label Studio, or import it through a storage."
            )
        return self._checked(address, self._home, name, "lies on")

    def redirected(self, url: httpx.URL, location: str, name: str) -> httpx.URL:
        """The URL that a redirect leads to, checked by the same rules.

        Raises:
            RequestError: it is not asked for.
        """
        return self._checked(location, url, name, "is redirected to")

    def owns(self, url: httpx.URL) -> bool:
        """Whether a URL is of Label Studio's origin: scheme, host and port."""
        return self._home is not None and _origin(url) == _origin(self._home)

    def check_peer(self, peer: IP, url: httpx.URL, name: str) -> None:
        """Check the address that the host of a URL, not Label Studio's, leads to.

        Raises:
            RequestError: it is no public one, and the allow-list does not name it by its number.
        """
        if is_public(peer) or any(entry.names(peer, url) for entry in self._entries):
            return
        numbered = f"{_bracketed(peer)}{_port_suffix(url)}"
        raise RequestError(
            f"The image {name} is not fetched: {url.host} leads to {peer}, which is no public address. If it "
            f"is a storage of yours, add {numbered} to MASKLOOP_IMAGE_HOSTS beside its name, or turn off "
            "pre-signed URLs of the storage so that Label Studio serves the image itself."
        )

    def _presign(self, address: str, task: int | str | None) -> httpx.URL:
        if self._home is None:
            raise _no_home(short(address))
        if not str(task).isdecimal():
            raise RequestError(
                f"The image {short(address)} is in a cloud storage, for which Label Studio must be told the "
                f"task's id, and the task of this request has the id {str(task)[:40]!r}."
            )
        # Label Studio answers with a redirect to a pre-signed link, or with the bytes.
        encoded = base64.urlsafe_b64encode(address.encode()).decode()
        return httpx.URL(f"{str(self._home).rstrip('/')}/tasks/{task}/presign/?fileuri={encoded}")

    def _checked(self, address: str, base: httpx.URL | None, name: str, verb: str) -> httpx.URL:
        try:
            url = httpx.URL(address) if base is None else base.join(address)
        except (httpx.InvalidURL, ValueError) as error:
            raise RequestError(f"The image address {name} is no address: {error}.") from error
        if self.owns(url) and not url.userinfo:
            return url
        if base is None and not url.host:
            raise _no_home(name)
        if url.userinfo or url.scheme not in _DEFAULT_PORTS:
            raise RequestError(
                f"The image {name} {verb} an address that is no plain http or https one: user names and "
                "passwords in addresses are not sent."
            )
        if not any(entry.names(_host_key(url), url) for entry in self._entries):
            raise self._stranger(url, name, verb)
        return url

    def _stranger(self, url: httpx.URL, name: str, verb: str) -> RequestError:
        host = f"{url.host}{_port_suffix(url)}"
        home = "MASKLOOP_LABEL_STUDIO_URL, which is not set" if self._home is None else str(self._home)
        return RequestError(
            f"The image {name} {verb} {url.scheme}://{host}, and that is not on Label Studio at {home}, nor "
            "in MASKLOOP_IMAGE_HOSTS. Upload the image to Label Studio, turn off pre-signed URLs of its "
            f"storage so that Label Studio serves it itself, or add {host} to MASKLOOP_IMAGE_HOSTS."
        )


def is_public(peer: IP) -> bool:
    """Whether an address belongs to the public internet, also when it wraps an IPv4 address."""
    if isinstance(peer, ipaddress.IPv6Address):
        if peer.ipv4_mapped is not None:
            return is_public(peer.ipv4_mapped)
        if peer in _NAT64:
            return is_public(ipaddress.IPv4Address(int(peer) & 0xFFFFFFFF))
        if peer not in _PUBLIC_IPV6 or any(peer in tunnel for tunnel in _TUNNELS):
            return False
    return peer.is_global and not peer.is_multicast and not peer.is_reserved


def short(address: str) -> str:
    """An address for a message: without query or password, which may be secret, and not endless."""
    start = address[: MAX_ADDRESS if not address.startswith("data:") else 40]
    plain = re.split(r"[?#]", start, maxsplit=1)[0]
    return repr(re.sub(r"//[^/]*@", "//", plain)[:120])


def embedded(address: str, max_bytes: int) -> bytes:
    """The bytes inside a `data:` URI.

    Raises:
        RequestError: it is no data URI.
        UnavailableImageError: it holds more bytes than accepted.
    """
    header, comma, payload = address.partition(",")
    if not comma:
        raise RequestError(f"The image address {short(address)} is a data URI without a comma and data.")
    encoded = header.endswith(";base64")
    data = unquote_to_bytes(payload) if "%" in payload else payload.encode()
    if len(data) * (0.75 if encoded else 1) - 2 > max_bytes:  # up to two bytes are padding
        raise UnavailableImageError(
            f"The image {short(address)} holds more than {max_bytes} bytes: scale it down."
        )
    if not encoded:
        return data
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise RequestError(f"The image address {short(header)} holds no valid base64: {error}.") from error


def _no_home(name: str) -> RequestError:
    return RequestError(
        f"The image {name} cannot be fetched: set MASKLOOP_LABEL_STUDIO_URL to the address of Label Studio."
    )


def _host_key(url: httpx.URL) -> str | IP:
    """The host, as a number where it is written as one, so that two spellings of it are equal."""
    host = url.raw_host.decode("ascii")
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return host


def _port(url: httpx.URL) -> int | None:
    return url.port or _DEFAULT_PORTS.get(url.scheme)


def _port_suffix(url: httpx.URL) -> str:
    return "" if url.port is None else f":{url.port}"


def _bracketed(peer: IP) -> str:
    return f"[{peer}]" if peer.version == 6 else str(peer)


def _origin(url: httpx.URL) -> tuple[str, bytes, int | None]:
    return url.scheme, url.raw_host, _port(url)
