"""The proxy that the fault benchmark puts before servers, against a real one."""

import http.server
import threading

import httpx
import pytest

from benchmarks.failing_proxy import FailingProxy, Mode


@pytest.fixture
def proxy(tmp_path):
    (tmp_path / "page").write_text("served")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(tmp_path))

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield FailingProxy(server.server_port)
        server.shutdown()


def ask(proxy):
    return httpx.get(f"{proxy.url}/page", trust_env=False, timeout=20)


def test_failing_proxy__passes_and_passes_again(proxy):
    assert ask(proxy).text == "served"
    with proxy.failing(Mode.ERROR):
        assert ask(proxy).status_code == 500
    assert ask(proxy).text == "served"


def test_failing_proxy__down(proxy):
    with proxy.failing(Mode.DOWN), pytest.raises(httpx.TransportError):
        ask(proxy)


def test_failing_proxy__cuts_open_connections(proxy):
    with httpx.Client(trust_env=False, timeout=20) as client:
        assert client.get(f"{proxy.url}/page").text == "served"
        with proxy.failing(Mode.ERROR):
            assert client.get(f"{proxy.url}/page").status_code == 500
