"""The service as a process of its own."""

import os
import signal
import subprocess
import sys
import time

import httpx
import pytest

from ml_backend.__main__ import main
from tests.ml_backend.conftest import encode, free_port
from tests.ml_backend.fake_label_studio import LEGACY


def environment(**variables: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MASKLOOP_")}
    return inherited | {f"MASKLOOP_{name.upper()}": value for name, value in variables.items()}


def test_main__predicts_over_http_and_stops(checkpoint, label_studio, photo, wire):
    port = free_port()
    label_studio.files["/data/upload/12/20eb5cd1-tiny.png"] = encode(photo)
    variables = environment(
        checkpoint=str(checkpoint),
        label_studio_url=label_studio.url,
        label_studio_token=LEGACY,
        threads="1",
    )
    command = [sys.executable, "-m", "ml_backend", "--port", str(port)]
    server = subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/health", server)
        reply = httpx.post(f"{url}/predict", json=wire("predict_interactive_1_keypoints"), timeout=60)
        assert reply.json()["results"][0]["model_version"].startswith("random-")
        server.send_signal(signal.SIGTERM)
        _, log = server.communicate(timeout=30)
    finally:
        server.kill()
    assert "Task 24: 1 prompts on 64 x 48" in log
    assert LEGACY not in log


@pytest.mark.parametrize(
    ("variable", "value"), [("MASKLOOP_CHECKPOINT", "no/such/folder"), ("MASKLOOP_POLL_SECONDS", "often")]
)
def test_main__cannot_start(variable, value, monkeypatch):
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr(sys, "argv", ["ml_backend", "--port", "1"])
    with pytest.raises(SystemExit, match=f"maskloop backend: .*{value}"):
        main()


def wait_for(url: str, server: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        try:
            httpx.get(url)
        except httpx.TransportError:
            time.sleep(0.2)
        else:
            return
    server.kill()
    pytest.fail(f"The service does not listen:\n{server.communicate()[1]}")
