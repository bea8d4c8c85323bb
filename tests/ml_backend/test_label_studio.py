import asyncio

import httpx
import pytest

from ml_backend import credentials
from ml_backend.errors import RequestError, UnavailableImageError, UnreachableError
from ml_backend.label_studio import LabelStudio
from tests.ml_backend.fake_label_studio import LEGACY, PERSONAL, jwt, serve_label_studio

PATH = "/data/upload/12/a.png"


def download(server_url: str, *addresses: str, token: str = LEGACY, **options) -> list[bytes]:
    """Download addresses one after the other with one client."""

    async def run() -> list[bytes]:
        client = LabelStudio(server_url, token, back_off_seconds=0.01, **options)
        try:
            return [await client.download(address) for address in addresses]
        finally:
            await client.close()

    return asyncio.run(run())


def test_download__legacy_token(label_studio):
    label_studio.files[PATH] = b"pixels"
    assert download(label_studio.url, PATH, label_studio.url + PATH) == [b"pixels"] * 2
    assert label_studio.asked == [(PATH, f"Token {LEGACY}")] * 2


def test_download__personal_token_is_exchanged_once(label_studio):
    label_studio.files[PATH] = b"pixels"
    assert download(label_studio.url, PATH, PATH, token=PERSONAL) == [b"pixels"] * 2
    assert label_studio.asked == [(PATH, "Bearer access-1")] * 2


def test_download__personal_token_is_exchanged_again_before_it_expires(label_studio, monkeypatch):
    monkeypatch.setattr(credentials, "_ACCESS_SECONDS", 0.0)
    label_studio.files[PATH] = b"pixels"
    download(label_studio.url, PATH, PATH, token=PERSONAL)
    assert label_studio.asked == [(PATH, "Bearer access-1"), (PATH, "Bearer access-2")]


def test_download__access_token_refused(label_studio):
    label_studio.files[PATH] = b"pixels"

    async def run() -> bytes:
        client = LabelStudio(label_studio.url, PERSONAL)
        await client.download(PATH)
        label_studio.accepted.clear()  # revoked before its time
        try:
            return await client.download(PATH)
        finally:
            await client.close()

    assert asyncio.run(run()) == b"pixels"
    assert [token for _, token in label_studio.asked] == [
        "Bearer access-1",
        "Bearer access-1",
        "Bearer access-2",
    ]


def test_download__personal_token_revoked(label_studio):
    with pytest.raises(UnavailableImageError, match="create a new personal access token"):
        download(label_studio.url, PATH, token=jwt(token_type="refresh", user_id=2))
    assert label_studio.asked == []


@pytest.mark.parametrize("token", ["", "wrong"])
def test_download__token_refused(label_studio, token):
    label_studio.files[PATH] = b"pixels"
    with pytest.raises(UnavailableImageError, match="HTTP 401: check MASKLOOP_LABEL_STUDIO_TOKEN"):
        download(label_studio.url, PATH, token=token)
    assert len(label_studio.asked) == 1


def test_download__token_is_not_shown_to_a_proxy(label_studio, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    label_studio.files[PATH] = b"pixels"
    assert download(label_studio.url, PATH) == [b"pixels"]


def test_download__file_gone(label_studio):
    with pytest.raises(UnavailableImageError, match=f"{PATH} with HTTP 404"):
        download(label_studio.url, PATH)


def test_download__label_studio_fails(label_studio):
    label_studio.failures[PATH] = 500
    with pytest.raises(UnreachableError, match=f"{PATH} with HTTP 500"):
        download(label_studio.url, PATH)


def test_download__connection_lost_once(label_studio):
    label_studio.files[PATH] = b"pixels"
    label_studio.dropped_connections = 2
    assert download(label_studio.url, PATH) == [b"pixels"]
    assert len(label_studio.asked) == 3


def test_download__label_studio_down():
    with serve_label_studio() as server:
        url = server.url
    with pytest.raises(UnreachableError, match=r"3 attempts.*Is it running"):
        download(url, PATH)


def test_download__label_studio_down__personal_token():
    with serve_label_studio() as server:
        url = server.url
    with pytest.raises(UnreachableError, match="3 attempts"):
        download(url, PATH, token=PERSONAL)


def test_download__not_label_studio():
    transport = httpx.MockTransport(lambda _: httpx.Response(200, text="<html>"))
    with pytest.raises(UnreachableError, match="no access token"):
        download("http://labels.example", PATH, token=PERSONAL, transport=transport)


@pytest.mark.parametrize(
    "address",
    [
        "http://elsewhere.example/a.png",
        "//elsewhere.example/a.png",
        "http://labels.example:81/a.png",
        "https://labels.example/a.png",
        "http://labels.example@elsewhere.example/a.png",
        "http://169.254.169.254/latest/meta-data/",
    ],
)
def test_download__other_host(address):
    def answer(request: httpx.Request) -> httpx.Response:
        pytest.fail(f"{request.url} was asked")

    with pytest.raises(RequestError, match=r"not on Label Studio at http://labels.example"):
        download("http://labels.example", address, transport=httpx.MockTransport(answer))


def test_download__no_label_studio_configured():
    with pytest.raises(RequestError, match="set MASKLOOP_LABEL_STUDIO_URL"):
        download("", PATH)


def test_download__odd_address(label_studio):
    with pytest.raises(RequestError, match="no address"):
        download(label_studio.url, "http://[::1/a\x00.png")


def test_download__message_holds_no_query():
    with pytest.raises(RequestError) as caught:
        download("http://labels.example", "http://bucket.example/a.png?X-Amz-Signature=abc")
    assert "Signature" not in str(caught.value)


def test_download__redirect_on_label_studio(label_studio):
    label_studio.redirects["/tasks/1/a.png"] = PATH
    label_studio.files[PATH] = b"pixels"
    assert download(label_studio.url, "/tasks/1/a.png") == [b"pixels"]


def test_download__redirect_to_another_host(label_studio):
    with serve_label_studio() as elsewhere:
        label_studio.redirects[PATH] = f"{elsewhere.url}/a.png"
        with pytest.raises(RequestError, match="not on Label Studio"):
            download(label_studio.url, PATH)
        assert elsewhere.asked == []


def test_download__redirect_loop(label_studio):
    label_studio.redirects[PATH] = PATH
    with pytest.raises(UnavailableImageError, match="redirected more than 3 times"):
        download(label_studio.url, PATH)


def test_download__too_large(label_studio):
    label_studio.files[PATH] = bytes(1001)
    with pytest.raises(UnavailableImageError, match="larger than 1000 bytes"):
        download(label_studio.url, PATH, max_bytes=1000)
