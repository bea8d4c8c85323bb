"""A small HTTP server that hands out files as Label Studio does: by legacy token, or by access token.

It also stands for any other host: one that wants no token, is slow, or lies.
"""

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

LEGACY = "0123456789abcdef0123456789abcdef01234567"


def jwt(**claims) -> str:
    """An unsigned token of the shape of Label Studio's personal access tokens."""
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256"}, claims, "signature")]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


PERSONAL = jwt(token_type="refresh", user_id=1)


def presigned(task: int, uri: str) -> str:
    """The path at which Label Studio serves an object of a cloud storage, or redirects to it."""
    return f"/tasks/{task}/presign/?fileuri={base64.urlsafe_b64encode(uri.encode()).decode()}"


@dataclass
class FakeLabelStudio:
    """What the server serves, and what it was asked."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    tasks: list[dict] = field(default_factory=list)
    dropped_connections: int = 0
    drip_seconds: float = 0.0
    """Between two bytes of a body."""
    opened: threading.Event = field(default_factory=threading.Event)
    """Files wait for it."""
    accepted: set[str | None] = field(default_factory=lambda: {f"Token {LEGACY}"})
    asked: list[tuple[str, str]] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    refreshed: int = 0

    @property
    def port(self) -> int:
        return urlsplit(self.url).port

    def refresh(self, token: str) -> str | None:
        if token != PERSONAL:
            return None
        self.refreshed += 1
        access = f"access-{self.refreshed}"
        self.accepted = {f"Bearer {access}"}  # the older access token has expired
        return access

    def tasks_page(self, parameters: dict[str, list[str]]) -> bytes:
        """The answer of `GET /api/tasks` to the one query that the service makes."""
        (only,) = json.loads(parameters["query"][0])["filters"]["items"]
        assert (only["filter"], only["operator"], only["type"]) == (
            "filter:tasks:id",
            "greater",
            "Number",
        )
        project, size = int(parameters["project"][0]), int(parameters["page_size"][0])
        found = [task for task in self.tasks if task["project"] == project and task["id"] > only["value"]]
        return json.dumps({"tasks": found[:size], "total": len(found)}).encode()


def _handler(state: FakeLabelStudio, stopping: threading.Event) -> type[BaseHTTPRequestHandler]:
    """Answers from a state; what drips ends when `stopping` is set."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path
            state.asked.append((path, self.headers.get("Authorization", "")))
            state.hosts.append(self.headers.get("Host", ""))
            if state.dropped_connections:
                state.dropped_connections -= 1
                self.close_connection = True
                self.connection.close()
            elif path in state.redirects:
                self.reply(302, b"", Location=state.redirects[path])
            elif path in state.failures:
                self.reply(state.failures[path], b"{}")
            elif self.headers.get("Authorization") not in state.accepted:
                self.reply(401, b'{"detail": "Authentication credentials were not provided."}')
            elif path.startswith("/api/tasks?"):
                self.reply(200, state.tasks_page(parse_qs(urlsplit(path).query)))
            elif path in state.files:
                state.opened.wait(10)
                self.reply(200, state.files[path], **state.headers.get(path, {}))
            else:
                self.reply(404, b"{}")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            access = state.refresh(body["refresh"]) if self.path == "/api/token/refresh" else None
            if access is None:
                self.reply(401, b'{"detail": "Token is invalid"}')
            else:
                self.reply(200, json.dumps({"access": access}).encode())

        def reply(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                if value:
                    self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if not state.drip_seconds:
                self.wfile.write(body)
            for place in range(len(body) if state.drip_seconds else 0):
                self.wfile.write(body[place : place + 1])
                stopping.wait(state.drip_seconds)

        def log_message(self, *_) -> None:
            """Stay silent."""

        def handle(self) -> None:
            try:
                super().handle()
            except (OSError, ValueError):  # the connection that was dropped on purpose
                return

    return Handler


@contextmanager
def serve_label_studio(tls: ssl.SSLContext | None = None) -> Iterator[FakeLabelStudio]:
    stopping = threading.Event()
    state = FakeLabelStudio(url="")
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(state, stopping)) as server:
        server.daemon_threads = True
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        state.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_port}"
        state.opened.set()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield state
        stopping.set()
        state.opened.set()
        server.shutdown()
        thread.join()


@contextmanager
def serve_storage(tls: ssl.SSLContext | None = None) -> Iterator[FakeLabelStudio]:
    """A host that hands out its files to anybody."""
    with serve_label_studio(tls) as server:
        server.accepted = {None}
        yield server
