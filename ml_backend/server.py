"""The server: uvicorn, which stops without losing a click.

On SIGTERM or Ctrl-C, `/ready` says 503 from that moment; for a moment more the socket stays open, so that a
probe can see it and connections that the kernel has completed are taken over; then new connections are
refused and idle ones closed, and what was accepted is answered, for a bounded time.
"""

import asyncio
import contextlib
import signal
import socket
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from ml_backend.readiness import Readiness

NOTICE_SECONDS = 0.5
DRAIN_SECONDS = 10
"""Less than what those who stop it wait before they kill it: the stack 15 s, Docker 10 s (raise that)."""


def serve(
    app: ASGIApp, readiness: Readiness, host: str, port: int, drain_seconds: int = DRAIN_SECONDS
) -> None:
    """Listen until told to stop. Returns after Ctrl-C; after SIGTERM the process ends by that signal.

    So whatever must be closed is closed by the application's lifespan, which comes after the last answer.

    Args:
        app: the application.
        readiness: is told to drain.
        host: to listen on.
        port: to listen on.
        drain_seconds: how long accepted requests may take to be answered; then they are cancelled.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=drain_seconds,
    )
    with contextlib.suppress(KeyboardInterrupt):
        Server(config, readiness).run()


class Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, readiness: Readiness) -> None:
        super().__init__(config)
        self._readiness = readiness

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._readiness.drain(f"the service was told to stop by {signal.Signals(sig).name}")
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await asyncio.sleep(NOTICE_SECONDS)
        await super().shutdown(sockets)
