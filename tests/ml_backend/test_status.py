"""The status page: the right figures in their places, no secrets, and nothing that data could do to it."""

import re
import time
from html.parser import HTMLParser

import httpx
import pytest
from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse

from ml_backend.auth import Authentication
from ml_backend.limits import Limits
from ml_backend.readiness import Readiness
from ml_backend.redaction import Redaction
from ml_backend.settings import Settings
from ml_backend.status import status_page
from ml_backend.telemetry import Telemetry
from tests.ml_backend.live import serving

HOSTILE = "</title><script>alert(1)</script>\"' onload=x &amp; <!-- -->{{ 7 * 7 }}"
SETTINGS = Settings(
    label_studio_url="http://me:inside@label-studio.example",
    label_studio_token="token-in-the-settings",
    basic_user="labeler",
    basic_password="password-in-the-settings",
)


class Page(HTMLParser):
    """The tags of a page with their attributes, and its visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(text for text in self.texts if text)


def telemetry(version: str = "maskloop-v12", sha256: str = "9f86d081") -> Telemetry:
    since = time.time() - 3 * 3600 - 25 * 60
    return Telemetry(lambda: version, lambda: sha256, lambda: since, Redaction.of(SETTINGS))


def page(measured: Telemetry, readiness: Readiness | None = None, protocol: str = "csfpn") -> Page:
    return Page(status_page(measured, readiness or Readiness(), SETTINGS, protocol))


def test_page__figures():
    measured, readiness = telemetry(), Readiness()
    readiness.ready()
    for milliseconds in range(1, 101):
        measured.observe("total", milliseconds / 1000)
        measured.counted("answered")
    measured.counted("superseded")
    measured.cache("images", hit=True)
    measured.cache("images", hit=False)
    measured.watch_cache("images", lambda: 3 * 2**20, 512 * 2**20)
    measured.watch_queue(lambda: 2, 32)
    measured.failed("/predict", 502, "Label Studio is not reached. Is it running?")
    measured.failed("/predict", 502, "Label Studio is not reached. Is it running?")
    shown = page(measured, readiness)
    assert shown.text.count("ready") >= 1
    assert "Not ready" not in shown.text
    for expected in (
        "maskloop-v12",
        "9f86d081",
        "protocol csfpn",
        "3 h 25 min",
        "the whole click 50 ms 95 ms 100",
        "highest: 100 ms",
        "superseded by a newer click 1 1 1",
        "answered with a mask 100 100 100",
        "images 50 % 2 3.0 MB / 512 MB",
        "waiting 2 of at most 32",
        "502 Bad Gateway 2 times /predict",
        "Label Studio is not reached. Is it running?",
    ):
        assert expected in shown.text
    assert sum(tag == "rect" for tag, _ in shown.tags) == 100 + 30


def test_page__before_the_first_click():
    shown = page(telemetry())
    assert "Not ready: the model is being loaded" in shown.text
    assert "None since the start" in shown.text
    assert "run the network \N{EN DASH} \N{EN DASH} 0" in shown.text


def test_page__secrets_are_set_or_not_set():
    shown = page(telemetry())
    for name in ("token-in-the-settings", "password-in-the-settings", "inside"):
        assert name not in shown.text
    assert "MASKLOOP_LABEL_STUDIO_TOKEN set" in shown.text
    assert "MASKLOOP_WEBHOOK_SECRET not set" in shown.text
    assert "MASKLOOP_LABEL_STUDIO_URL http://***@label-studio.example" in shown.text
    assert "MASKLOOP_LOG text" in shown.text


def test_page__hostile_names():
    measured, readiness = telemetry(HOSTILE, HOSTILE), Readiness(HOSTILE)
    measured.failed(HOSTILE, 999, HOSTILE)
    measured.watch_cache(HOSTILE, int, 0)
    shown = page(measured, readiness, HOSTILE)
    assert not {"script", "iframe", "link", "img", "a", "object"} & {tag for tag, _ in shown.tags}
    assert not any(name.startswith("on") for _, attributes in shown.tags for name in attributes)
    assert shown.text.count("alert(1)") >= 7
    assert "{{ 7 * 7 }}" in shown.text


def test_page__asks_nobody_else():
    html = status_page(telemetry(), Readiness(), SETTINGS, "csfpn")
    assert "default-src 'none'" in html
    assert not re.search(r"url\(|@import|\b(?:href|src|action)=", html)
    assert ("meta", {"http-equiv": "refresh", "content": "10"}) in Page(html).tags


@pytest.mark.parametrize(
    ("path", "found"), [("/metrics", "maskloop_clicks_total"), ("/status", "maskloop-v12")]
)
def test_routes__wired_as_the_service_does(path, found):
    measured, app = telemetry(), FastAPI()
    app.add_middleware(Limits, max_body_mb=1, seconds=5, failed=measured.failed)
    app.add_middleware(Authentication, settings=SETTINGS, failed=measured.failed)  # added last: outermost

    @app.get("/metrics")
    def metrics() -> Response:
        body, content_type = measured.render()
        return Response(body, media_type=content_type)

    @app.get("/status")
    def status() -> HTMLResponse:
        return HTMLResponse(status_page(measured, Readiness(), SETTINGS, "csfpn"))

    with serving(app) as port:
        url = f"http://127.0.0.1:{port}{path}"
        assert httpx.get(url).status_code == 401
        reply = httpx.get(url, auth=("labeler", "password-in-the-settings"))
    assert found in reply.text
    assert measured.failures()[0].status == 401
