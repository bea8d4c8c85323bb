"""Limits: how large a body may be, and how long a client may take to send it.

The body is read here, before anything looks into it. Whoever is refused is told so while the body is still
arriving, and gets a moment to notice: a connection closed with unread bytes on it is reset, and the client
would see that instead of the reason.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

MEGABYTE = 2**20
LINGER_SECONDS = 2.0

Failed = Callable[[str, int, str], None]
"""Is told of each refusal: the path, the status and the message."""


class _TooLarge(Exception):  # noqa: N818 - it never leaves this module
    pass


class Limits:
    """ASGI middleware that answers 413 to a body that is too large, and 408 to one that comes too slowly."""

    def __init__(self, app: ASGIApp, max_body_mb: int, seconds: float, failed: Failed | None = None) -> None:
        """Wrap an application.

        Args:
            app: is given whole bodies only.
            max_body_mb: megabytes (2^20 bytes) of one body.
            seconds: from the head of a request to the end of its body.
            failed: is told of each refusal, such as `Telemetry.failed`.
        """
        self._app = app
        self._max_body_mb = max_body_mb
        self._seconds = seconds
        self._failed = failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            announced = self._announced(Headers(scope=scope))
            async with asyncio.timeout(self._seconds):
                body = await self._read(receive)
        except _TooLarge as error:
            await self._refuse(scope, receive, send, 413, str(error), LINGER_SECONDS)
        except TimeoutError:
            message = (
                f"The body {announced}did not arrive within {self._seconds:g} s: is the connection from "
                "Label Studio to this service slow, or does it stop half way?"
            )
            await self._refuse(scope, receive, send, 408, message, 0)
        except ClientDisconnect:
            return
        else:
            await self._app(scope, _replay(body, receive), send)

    def _announced(self, headers: Headers) -> str:
        """How large the client says the body is, for a message; a body that says too much is not read."""
        length = headers.get("content-length", "")
        if not (length.isascii() and length.isdigit()):
            return ""
        size = int(length[:20])
        if size > self._max_body_mb * MEGABYTE:
            raise _TooLarge(self._too_large(f"The body has {size} bytes ({size / MEGABYTE:.1f} MB)"))
        return f"of {size} bytes "

    async def _read(self, receive: Receive) -> bytes:
        body = bytearray()  # not a list of chunks: there may be one for each byte
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            body += message.get("body", b"")
            if len(body) > self._max_body_mb * MEGABYTE:
                raise _TooLarge(self._too_large(f"The body has more than {self._max_body_mb} MB"))
            more = message.get("more_body", False)
        return bytes(body)

    def _too_large(self, figure: str) -> str:
        return (
            f"{figure}, and {self._max_body_mb} MB are accepted: raise MASKLOOP_MAX_BODY_MB if tasks really "
            "hold as many annotations."
        )

    async def _refuse(
        self, scope: Scope, receive: Receive, send: Send, status: int, message: str, linger: float
    ) -> None:
        path = scope["path"]
        logger.warning("%s %s: %d, %s", scope["method"], path, status, message)
        if self._failed is not None:
            self._failed(path, status, message)
        await refuse(receive, send, status, message, linger=linger)


async def refuse(
    receive: Receive,
    send: Send,
    status: int,
    message: str,
    headers: Mapping[str, str] | None = None,
    linger: float = LINGER_SECONDS,
) -> None:
    """Answer `{"error": message}` and close, whether or not the body has arrived.

    Args:
        receive: of the request, from which at most `linger` seconds of body are thrown away.
        send: of the request.
        status: of the answer.
        message: the error and its remedy.
        headers: to add to the answer.
        linger: seconds that the client has to read the answer before it can be reset.
    """
    response = JSONResponse({"error": message}, status, headers={**(headers or {}), "Connection": "close"})
    await send({"type": "http.response.start", "status": status, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    try:
        async with asyncio.timeout(linger):
            await _discard(receive)
    except TimeoutError:
        pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _discard(receive: Receive) -> None:
    message: Message = {"more_body": True}
    while message.get("more_body", False):
        message = await receive()


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body at once, and then what the client does."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed
