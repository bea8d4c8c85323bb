"""A small HTTP server with the routes of the backend, whose faults can be chosen."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

VERSION = "stub-1"


@dataclass
class StubBackend:
    """What the server wants and answers; `heard` are paths and bodies."""

    url: str = ""
    user: str = ""
    password: str = ""
    secret: str = ""
    version: str = VERSION
    date: str = ""
    failure: tuple[int, str] | None = None
    heard: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def basic(self) -> str:
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


@contextmanager
def serve_backend(**fields: Any) -> Iterator[StubBackend]:
    state = StubBackend(**fields)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(200, {"status": "UP", "model_class": "maskloop", "model_version": state.version})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.heard.append((self.path, body))
            if self.path == "/webhook":
                allowed = self.headers.get("X-Maskloop-Secret", "") == state.secret
            else:
                allowed = not state.user or self.headers.get("Authorization", "") == state.basic
            if not allowed:
                self.reply(401, {"error": "Not authorized"})
            elif self.path == "/setup":
                self.reply(200, {"model_version": state.version})
            elif self.path == "/predict" and state.failure:
                self.reply(state.failure[0], {"error": state.failure[1]})
            else:
                self.reply(200, {"results": [[]]})

        def reply(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response_only(status)
            self.send_header("Date", state.date or self.date_time_string())
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
