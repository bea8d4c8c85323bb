"""A real uvicorn in a thread, and sockets that send what an HTTP client would not."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from tests.ml_backend.conftest import free_port


@contextmanager
def serving(
    app: ASGIApp, make_server: Callable[[uvicorn.Config], uvicorn.Server] = uvicorn.Server
) -> Iterator[int]:
    """The port that the application listens on."""
    port = free_port()
    config = uvicorn.Config(app, port=port, log_config=None, access_log=False, lifespan="off")
    server = make_server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield port
    finally:
        server.should_exit = True
        thread.join()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def read_all(connection: socket.socket) -> bytes:
    """What is answered until the server closes."""
    answer = b""
    while chunk := connection.recv(65536):
        answer += chunk
    return answer
