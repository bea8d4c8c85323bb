"""A real backend as a child process, before a server that hands out images as Label Studio does."""

import http.server
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from maskloop.clicks import Click

CONFIG = """<View><Image name="image" value="$image"/>
  <BrushLabels name="brush" toName="image"><Label value="Object"/></BrushLabels>
  <KeyPointLabels name="include" toName="image" smartOnly="true"><Label value="Object"/></KeyPointLabels>
</View>"""


@dataclass
class Files:
    """What the server hands out, by path; `url` is its address."""

    url: str
    content: dict[str, bytes] = field(default_factory=dict)


@contextmanager
def serve_files() -> Iterator[Files]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = files.content.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        files = Files(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield files
        server.shutdown()


@dataclass(frozen=True)
class Backend:
    """A running service."""

    url: str
    process: subprocess.Popen[bytes]

    def resident_megabytes(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def stage_seconds(self, stage: str) -> float:
        """Seconds that a stage has taken so far, all clicks together."""
        text = httpx.get(f"{self.url}/metrics", trust_env=False).text
        return float(re.search(rf'seconds_sum{{stage="{stage}"}} (\S+)', text)[1])


@contextmanager
def running_backend(files: Files, log: Path, **settings: str) -> Iterator[Backend]:
    """`python -m ml_backend` with `MASKLOOP_<name>` of the settings."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"MASKLOOP_LABEL_STUDIO_URL": files.url, "MASKLOOP_PREFETCH": "0"}
    environment |= {f"MASKLOOP_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "ml_backend", "--port", str(port)]
    with log.open("wb") as out, subprocess.Popen(command, env=environment, stdout=out, stderr=out) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            _await(f"{url}/ready", process, log)
            yield Backend(url, process)
        finally:
            process.terminate()


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise SystemExit(f"the backend does not start:\n{log.read_text()[-2000:]}")


def question(
    task: int, address: str, clicks: Sequence[Click], height: int, width: int, drafts: Sequence[Any] = ()
) -> bytes:
    """The body of a request as the editor's clicks make it."""
    prompts = [
        {
            "id": secrets.token_hex(5),
            "type": "keypointlabels",
            "from_name": "include",
            "to_name": "image",
            "is_positive": click.positive,
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {
                "x": (click.col + 0.5) / width * 100,
                "y": (click.row + 0.5) / height * 100,
                "width": 0.3,
                "keypointlabels": ["Object"],
            },
        }
        for click in clicks
    ]
    body = {
        "tasks": [{"id": task, "data": {"image": address}, "drafts": list(drafts), "annotations": []}],
        "project": "1.1700000000",
        "label_config": CONFIG,
        "params": {"login": None, "password": None, "context": {"result": prompts}},
    }
    return json.dumps(body).encode()
