"""How the stack asks a Prefect server that is busy, refuses, or is gone."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from pipelines.stack import prefect_api
from pipelines.stack.config import Ports, StackConfig
from pipelines.stack.errors import StackError
from pipelines.stack.prefect_api import flow_state


@contextmanager
def prefect(tmp_path: Path, statuses: list[int]) -> Iterator[StackConfig]:
    """A server that answers with these statuses, one after the other, and with the last from then on."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
            self.end_headers()
            self.wfile.write(b'{"state": {"type": "RUNNING"}}')

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield StackConfig(tmp_path, ports=Ports(prefect=server.server_address[1]))
        server.shutdown()


def test_flow_state__asks_a_busy_server_again(tmp_path: Path) -> None:
    with prefect(tmp_path, [503, 503, 200]) as config:
        assert flow_state(config, "1") == {"type": "RUNNING"}


def test_flow_state__busy_for_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect_api, "BUSY_SECONDS", 0.5)
    with prefect(tmp_path, [503]) as config, pytest.raises(StackError, match="with 503"):
        flow_state(config, "1")


def test_flow_state__refused(tmp_path: Path) -> None:
    with prefect(tmp_path, [404, 200]) as config, pytest.raises(StackError, match="flow_runs/1 with 404"):
        flow_state(config, "1")


def test_flow_state__nobody_answers(tmp_path: Path) -> None:
    with prefect(tmp_path, [200]) as config:
        pass
    with pytest.raises(StackError, match="Prefect does not answer GET"):
        flow_state(config, "1")
