"""The server: uvicorn, which stops without losing a click.

On SIGTERM or Ctrl-C, `/ready` says 503 from that moment; for a moment more the socket stays open, so that a
probe can see it and connections that the kernel has completed are taken over; then new connections are
refused and idle ones closed, and what was accepted is answered, for a bounded time.

uvicorn waits for ever for the head of a request, so connections that never send one are closed here.
"""

import asyncio
import contextlib
import signal
import socket
import time
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from ml_backend.readiness import Readiness

NOTICE_SECONDS = 0.5
HEAD_SECONDS = 15.0
"""How long a connection may wait for a request: more than the 5 s that it is kept after an answer."""
DRAIN_SECONDS = 8
"""With the notice less than those wait who stop and then kill it: Docker 10 s, the stack 15 s."""


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
        ws="none",
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
        self._waiting: dict[tuple[Any, Any], float] = {}

    async def on_tick(self, counter: int) -> bool:
        """Called every 0.1 s."""
        if counter % 10 == 0:
            self._close_waiting(time.monotonic())
        return await super().on_tick(counter)

    def _close_waiting(self, now: float) -> None:
        """Close connections whose next request does not come."""
        waits = [
            (connection, cycle)
            for connection in self.server_state.connections
            if (cycle := getattr(connection, "cycle", None)) is None or cycle.response_complete
        ]
        self._waiting = {wait: self._waiting.get(wait, now) for wait in waits}
        for (connection, _), since in self._waiting.items():
            if now - since > HEAD_SECONDS:
                connection.transport.close()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._readiness.drain(f"the service was told to stop by {signal.Signals(sig).name}")
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await asyncio.sleep(NOTICE_SECONDS)
        await super().shutdown(sockets)
