"""A proxy of bytes in front of a server, which refuses connections or answers 500 on demand."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum

ANSWER = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Mode(StrEnum):
    PASS = "passes"
    DOWN = "down"
    ERROR = "500s"


class FailingProxy:
    """Listens on a port of its own; a change of `mode` cuts the connections that are open."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._mode = Mode.PASS
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def failing(self, mode: Mode) -> Iterator[None]:
        self.set(mode)
        try:
            yield
        finally:
            self.set(Mode.PASS)

    def set(self, mode: Mode) -> None:
        self._mode = mode
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _listen(self) -> None:
        while True:
            client, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            if self._mode is Mode.DOWN:
                # to the caller as good as nobody there: reset, not closed in order
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                return
            if self._mode is Mode.ERROR:
                client.recv(1 << 20)
                client.sendall(ANSWER)
                return
            with socket.create_connection(("127.0.0.1", self._target)) as server:
                self._splice(client, server)

    def _splice(self, client: socket.socket, server: socket.socket) -> None:
        pair = {client, server}
        with self._lock:
            self._open |= pair
        back = threading.Thread(target=_copy, args=(server, client), daemon=True)
        back.start()
        _copy(client, server)
        back.join()
        with self._lock:
            self._open -= pair


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
