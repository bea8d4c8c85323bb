"""Label Studio as the service sees it: files of tasks, and the tasks that come next.

What is asked of Label Studio carries a token, so redirects are followed by hand: each is checked by the rules
of `Addresses`, and once one has left Label Studio's origin the token is not sent again.
"""

import asyncio
import json
from collections.abc import Sequence

import httpx
import msgspec

from ml_backend.addresses import Addresses, embedded, short
from ml_backend.credentials import Credentials
from ml_backend.errors import UnavailableImageError, UnreachableError
from ml_backend.fetching import Reply, Resolver, Strangers, new_client, read, retry
from ml_backend.protocol import Task

MAX_BYTES = 64 * 2**20
SECONDS = 20.0
"""How long a file may take, from the first name looked up to the last byte: less than a click waits."""

_MAX_REDIRECTS = 3


class _Tasks(msgspec.Struct):
    tasks: list[Task]


class LabelStudio:
    """A client that downloads files and lists tasks. It is used from one event loop."""

    def __init__(
        self,
        url: str,
        token: str,
        hosts: Sequence[str] = (),
        max_bytes: int = MAX_BYTES,
        seconds: float = SECONDS,
        back_off_seconds: float = 0.2,
        transport: httpx.AsyncBaseTransport | None = None,
        resolve: Resolver | None = None,
    ) -> None:
        """
        Args:
            url: of Label Studio; nothing: only other hosts and `data:` URIs.
            token: a legacy or a personal access token.
            hosts: that images may lie on beside Label Studio, see `Addresses`.
            max_bytes: of a file.
            seconds: that a file may take.
            back_off_seconds: before the second attempt at a connection.
            transport: to Label Studio.
            resolve: the addresses of a host, by default those that the system knows.
        """
        self._url = url
        self._addresses = Addresses(url, hosts)
        self._credentials = Credentials(url, token)
        self._client = new_client(keep_alive=True, transport=transport)
        self._strangers = Strangers(self._addresses, max_bytes, back_off_seconds, resolve)
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._back_off_seconds = back_off_seconds

    async def download(self, address: str, task: int | str | None = None) -> bytes:
        """The bytes of a file.

        Args:
            address: a path on Label Studio, such as `/data/upload/1/a.png`, a URL of it or of an allowed
                host, the URI of an object in a cloud storage of Label Studio, or a `data:` URI.
            task: the id of the task whose file it is; cloud storages need it.

        Raises:
            RequestError: the address is not asked for.
            UnavailableImageError: the host refuses or does not have the file, or it is too large.
            UnreachableError: the host is not reached, fails, or takes too long.
        """
        if address.startswith("data:"):
            return await asyncio.to_thread(embedded, address, self._max_bytes)
        return await self._follow(self._addresses.url(address, task), short(address))

    async def tasks_after(self, project: int, task: int, count: int) -> list[Task]:
        """The tasks of a project that follow one by their id, in order, without annotations.

        Raises:
            UnavailableImageError: Label Studio refuses, or does not have the project.
            UnreachableError: Label Studio is not reached, or answers with something else than tasks.
        """
        after = {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": task}
        query = {"filters": {"conjunction": "and", "items": [after]}, "ordering": ["tasks:id"]}
        parameters = {
            "project": project,
            "page": 1,
            "page_size": count,
            "resolve_uri": "false",  # addresses as requests for predictions hold them
            "query": json.dumps(query),
        }
        url = httpx.URL(f"{self._url}/api/tasks", params=parameters)
        body = await self._follow(url, f"the list of tasks of project {project}")
        try:
            return msgspec.json.decode(body, type=_Tasks).tasks
        except msgspec.DecodeError as error:
            raise UnreachableError(
                f"Label Studio at {self._url} does not answer with the tasks of project {project}."
            ) from error

    async def close(self) -> None:
        await self._client.aclose()
        await self._strangers.close()

    async def _follow(self, url: httpx.URL, name: str) -> bytes:
        try:
            async with asyncio.timeout(self._seconds):
                return await self._follow_redirects(url, name)
        except TimeoutError as error:
            raise UnreachableError(
                f"{name} is not there after {self._seconds:g} s: is its host overloaded?"
            ) from error

    async def _follow_redirects(self, url: httpx.URL, name: str) -> bytes:
        trusted = True
        for _ in range(_MAX_REDIRECTS + 1):
            own = self._addresses.owns(url)
            trusted = trusted and own
            reply = await self._ask_own(url, name, trusted) if own else await self._strangers.get(url, name)
            if not reply.location:
                _check_status(reply.status, name, "Label Studio" if own else url.host)
                return reply.body
            url = self._addresses.redirected(url, reply.location, name)
        raise UnavailableImageError(f"{name} is redirected more than {_MAX_REDIRECTS} times.")

    async def _ask_own(self, url: httpx.URL, name: str, trusted: bool) -> Reply:
        async def ask(_: int) -> Reply:
            headers = await self._credentials.headers(self._client) if trusted else {}
            return await read(self._client, url, name, self._max_bytes, headers)

        host = f"Label Studio at {self._url}"
        remedy = "Is it running, and is MASKLOOP_LABEL_STUDIO_URL its address as seen from this service?"
        reply = await retry(ask, self._back_off_seconds, host, remedy)
        if reply.status == httpx.codes.UNAUTHORIZED and trusted and self._credentials.refreshes:
            self._credentials.forget()
            reply = await retry(ask, self._back_off_seconds, host, remedy)
        return reply


def _check_status(status: int, name: str, host: str) -> None:
    if status == httpx.codes.OK:
        return
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise UnreachableError(
            f"{host} answers {name} with HTTP {status}: the file may be gone; its log tells more."
        )
    if host != "Label Studio":
        raise UnavailableImageError(f"{host} answers {name} with HTTP {status}: is the file still there?")
    if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        raise UnavailableImageError(
            f"Label Studio refuses {name} with HTTP {status}: check MASKLOOP_LABEL_STUDIO_TOKEN. A legacy "
            "token works only while legacy tokens are enabled; a personal access token always does."
        )
    raise UnavailableImageError(
        f"Label Studio answers {name} with HTTP {status}: is the file still there, and does a storage of the "
        "project hold it?"
    )
