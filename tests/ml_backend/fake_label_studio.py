"""A small HTTP server that hands out files as Label Studio does: by legacy token, or by access token."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LEGACY = "0123456789abcdef0123456789abcdef01234567"


def jwt(**claims) -> str:
    """An unsigned token of the shape of Label Studio's personal access tokens."""
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256"}, claims, "signature")]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


PERSONAL = jwt(token_type="refresh", user_id=1)


@dataclass
class FakeLabelStudio:
    """What the server serves, and what it was asked."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    dropped_connections: int = 0
    accepted: set[str] = field(default_factory=lambda: {f"Token {LEGACY}"})
    asked: list[tuple[str, str]] = field(default_factory=list)
    refreshed: int = 0

    def refresh(self, token: str) -> str | None:
        if token != PERSONAL:
            return None
        self.refreshed += 1
        access = f"access-{self.refreshed}"
        self.accepted = {f"Bearer {access}"}  # the older access token has expired
        return access


@contextmanager
def serve_label_studio() -> Iterator[FakeLabelStudio]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path
            state.asked.append((path, self.headers.get("Authorization", "")))
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
            elif path in state.files:
                self.reply(200, state.files[path])
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
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_) -> None:
            """Stay silent."""

        def handle(self) -> None:
            try:
                super().handle()
            except (OSError, ValueError):  # the connection that was dropped on purpose
                return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state = FakeLabelStudio(url=f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield state
        server.shutdown()
        thread.join()
