import asyncio
import gzip
import ipaddress
import logging
import shlex
import socket
import ssl
import subprocess
import time

import httpx
import pytest

from ml_backend import credentials
from ml_backend.errors import RequestError, UnavailableImageError, UnreachableError
from ml_backend.label_studio import LabelStudio
from tests.ml_backend.fake_label_studio import (
    LEGACY,
    PERSONAL,
    FakeLabelStudio,
    jwt,
    presigned,
    serve_label_studio,
    serve_storage,
)

PATH = "/data/upload/12/a.png"
SIGNED = "/a.png?X-Amz-Signature=5ecre7"


@pytest.fixture
def storage():
    with serve_storage() as server:
        yield server


def download(
    server_url: str, *addresses: str, token: str = LEGACY, task: int | None = None, **options
) -> list[bytes]:
    """Download addresses one after the other with one client."""

    async def run() -> list[bytes]:
        client = LabelStudio(server_url, token, back_off_seconds=0.01, **options)
        try:
            return [await client.download(address, task) for address in addresses]
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
    with pytest.raises(UnavailableImageError, match=f"{PATH}' with HTTP 404"):
        download(label_studio.url, PATH)


def test_download__label_studio_fails(label_studio):
    label_studio.failures[PATH] = 500
    with pytest.raises(UnreachableError, match=f"{PATH}' with HTTP 500"):
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


def test_download__redirect_on_label_studio(label_studio):
    label_studio.redirects["/tasks/1/a.png"] = PATH
    label_studio.files[PATH] = b"pixels"
    assert download(label_studio.url, "/tasks/1/a.png") == [b"pixels"]


def test_download__redirect_loop(label_studio):
    label_studio.redirects[PATH] = PATH
    with pytest.raises(UnavailableImageError, match="redirected more than 3 times"):
        download(label_studio.url, PATH)


# Other hosts: 127.0.0.1 stands for a storage in a network of one's own, named by its number in the list.


def test_download__other_host(label_studio, storage):
    storage.files[SIGNED] = b"pixels"
    hosts = [f"127.0.0.1:{storage.port}"]
    assert download(label_studio.url, storage.url + SIGNED, hosts=hosts) == [b"pixels"]
    assert storage.asked == [(SIGNED, "")]  # and so no token
    assert label_studio.asked == []


def test_download__other_host_without_label_studio(storage):
    storage.files["/a.png"] = b"pixels"
    assert download("", f"{storage.url}/a.png", hosts=[f"127.0.0.1:{storage.port}"]) == [b"pixels"]


def test_download__other_host_not_in_the_list(label_studio, storage):
    message = rf"lies on http://127\.0\.0\.1:{storage.port}, and that is not on Label Studio"
    with pytest.raises(RequestError, match=message) as caught:
        download(label_studio.url, storage.url + SIGNED)
    assert "5ecre7" not in str(caught.value)
    assert storage.asked == []


@pytest.mark.parametrize("status", [403, 404, 500])
def test_download__other_host_refuses(label_studio, storage, status):
    storage.failures[SIGNED] = status
    error = UnreachableError if status == 500 else UnavailableImageError
    with pytest.raises(error, match=rf"127\.0\.0\.1 answers .*/a\.png' with HTTP {status}") as caught:
        download(label_studio.url, storage.url + SIGNED, hosts=[f"127.0.0.1:{storage.port}"])
    assert "5ecre7" not in str(caught.value)
    assert "TOKEN" not in str(caught.value)


def test_download__other_host_down(label_studio):
    with serve_storage() as storage:
        url, port = storage.url, storage.port
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1, which holds .* is not reached, 3 attempts"):
        download(label_studio.url, url + SIGNED, hosts=[f"127.0.0.1:{port}"])


# Redirects


def test_download__redirect_to_another_host(label_studio, storage):
    label_studio.redirects[PATH] = storage.url + SIGNED
    host = rf"127\.0\.0\.1:{storage.port}"
    message = rf"{PATH}' is redirected to http://{host}, .* add {host} to MASKLOOP_IMAGE_HOSTS"
    with pytest.raises(RequestError, match=message) as caught:
        download(label_studio.url, PATH)
    assert "5ecre7" not in str(caught.value)
    assert storage.asked == []


@pytest.mark.parametrize("token", [LEGACY, PERSONAL])
def test_download__token_stays_behind_at_a_redirect(label_studio, storage, token):
    label_studio.redirects[PATH] = storage.url + SIGNED
    storage.files[SIGNED] = b"pixels"
    hosts = [f"127.0.0.1:{storage.port}"]
    assert download(label_studio.url, PATH, token=token, hosts=hosts) == [b"pixels"]
    assert [bool(sent) for _, sent in label_studio.asked] == [True]
    assert storage.asked == [(SIGNED, "")]


def test_download__token_is_not_sent_again_after_label_studio_was_left(label_studio, storage):
    label_studio.redirects["/start"] = f"{storage.url}/turn"
    storage.redirects["/turn"] = label_studio.url + PATH
    label_studio.files[PATH] = b"pixels"
    with pytest.raises(UnavailableImageError, match="HTTP 401"):
        download(label_studio.url, "/start", hosts=[f"127.0.0.1:{storage.port}"])
    assert label_studio.asked[-1] == (PATH, "")


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://2852039166/latest/meta-data/",
        "http://[::ffff:a9fe:a9fe]/latest/meta-data/",
        "http://localhost/",
        "//127.0.0.1/",
    ],
)
def test_download__redirect_to_a_private_address(label_studio, storage, location):
    label_studio.redirects[PATH] = location
    storage.redirects["/a.png"] = location
    for address in (PATH, f"{storage.url}/a.png"):
        with pytest.raises(RequestError, match=r"is redirected to .* nor in MASKLOOP_IMAGE_HOSTS"):
            download(label_studio.url, address, hosts=[f"127.0.0.1:{storage.port}"])


def test_download__local_files_of_label_studio(label_studio):
    label_studio.files["/data/local-files/?d=photos/a.png"] = b"pixels"
    assert download(label_studio.url, "/data/local-files/?d=photos/a.png") == [b"pixels"]


def test_download__local_files_redirected(label_studio, storage):
    label_studio.redirects["/data/local-files/?d=a.png"] = f"{storage.url}/a.png"
    with pytest.raises(RequestError, match=r"local-files/' is redirected to .*IMAGE_HOSTS"):
        download(label_studio.url, "/data/local-files/?d=a.png")


# Cloud storages


def test_download__cloud_storage_that_label_studio_serves(label_studio):
    label_studio.files[presigned(24, "s3://bucket/a.png")] = b"pixels"
    assert download(label_studio.url, "s3://bucket/a.png", task=24) == [b"pixels"]


def test_download__cloud_storage_with_pre_signed_links(label_studio, storage):
    label_studio.redirects[presigned(24, "s3://bucket/a.png")] = storage.url + SIGNED
    storage.files[SIGNED] = b"pixels"
    hosts = [f"127.0.0.1:{storage.port}"]
    assert download(label_studio.url, "s3://bucket/a.png", task=24, hosts=hosts) == [b"pixels"]
    assert storage.asked == [(SIGNED, "")]
    with pytest.raises(
        RequestError, match=r"'s3://bucket/a\.png' is redirected to .*turn off pre-signed URLs"
    ):
        download(label_studio.url, "s3://bucket/a.png", task=24)


def test_download__cloud_storage_that_label_studio_does_not_know(label_studio):
    with pytest.raises(UnavailableImageError, match=r"'gs://b/a\.png' with HTTP 404.*does a storage"):
        download(label_studio.url, "gs://b/a.png", task=24)


# Names and what they lead to


def resolving(*answers: str):
    """A resolver that gives one answer after another, the last again and again."""
    left = list(answers)

    async def resolve(_host: str, _port: int) -> list:
        answer = left.pop(0) if len(left) > 1 else left[0]
        return [ipaddress.ip_address(address) for address in answer.split()]

    return resolve


@pytest.mark.parametrize(
    "answer",
    ["127.0.0.1", "169.254.169.254", "10.1.2.3", "::1", "fe80::1", "::ffff:10.0.0.1", "8.8.8.8 127.0.0.1"],
)
def test_download__name_that_leads_to_a_private_address(answer):
    with pytest.raises(RequestError, match=r"images\.example leads to .*, which is no public address"):
        download("", "http://images.example/a.png", hosts=["images.example"], resolve=resolving(answer))


def test_download__localhost_is_resolved_by_the_system(storage):
    with pytest.raises(RequestError, match=r"localhost leads to (127\.0\.0\.1|::1)"):
        download("", f"http://localhost:{storage.port}/a", hosts=[f"localhost:{storage.port}"])
    assert storage.asked == []


def test_download__decimal_spelling_of_an_address_is_a_name():
    with pytest.raises(RequestError, match=r"2852039166 leads to 169\.254\.169\.254"):
        download("", "http://2852039166/a", hosts=["2852039166"])


def test_download__name_without_an_address():
    with pytest.raises(UnreachableError, match=r"nowhere\.invalid of an image has no address"):
        download("", "http://nowhere.invalid/a", hosts=["nowhere.invalid"])
    with pytest.raises(UnreachableError, match="has no address"):
        download("", f"http://{'a' * 70}.example/a", hosts=[f"{'a' * 70}.example"])


def test_download__the_address_that_was_checked_is_the_one_that_is_asked(storage):
    """A name that leads elsewhere at the second look gains nothing, as there is none."""
    storage.files["/a.png"] = b"pixels"
    port = storage.port
    options = {
        "hosts": [f"images.example:{port}", f"127.0.0.1:{port}"],
        "resolve": resolving("127.0.0.1", "127.0.0.2"),
    }
    assert download("", f"http://images.example:{port}/a.png", **options) == [b"pixels"]
    assert storage.hosts == [f"images.example:{port}"]
    with pytest.raises(RequestError, match=r"leads to 127\.0\.0\.2"):  # refused as it was not listed
        download("", *[f"http://images.example:{port}/a.png"] * 2, **options)


def test_download__next_address_of_a_host_after_one_that_is_down(storage):
    storage.files["/a.png"] = b"pixels"
    port = storage.port
    content = download(
        "",
        f"http://images.example:{port}/a.png",
        hosts=[f"images.example:{port}", f"127.0.0.1:{port}", f"127.0.0.2:{port}"],
        resolve=resolving("127.0.0.2 127.0.0.1"),
    )
    assert content == [b"pixels"]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate for images.example that signs itself."""
    folder = tmp_path_factory.mktemp("certificate")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout key.pem "
        "-out cert.pem -subj /CN=images.example -addext subjectAltName=DNS:images.example"
    )
    subprocess.run(shlex.split(command), cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def secure_storage(certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    names = []
    tls.sni_callback = lambda _socket, name, _context: names.append(name)
    with serve_storage(tls) as server:
        server.files["/a.png"] = b"pixels"
        yield server, names


@pytest.mark.parametrize("name", ["images.example", "other.example"])
def test_download__certificate_is_checked_against_the_name(secure_storage, name):
    server, names = secure_storage
    options = {"hosts": [f"{name}:{server.port}", f"127.0.0.1:{server.port}"]}
    address = f"https://{name}:{server.port}/a.png"
    if name == "images.example":
        assert download("", address, resolve=resolving("127.0.0.1"), **options) == [b"pixels"]
        assert names == ["images.example"]
    else:
        with pytest.raises(UnreachableError, match="certificate verify failed"):
            download("", address, resolve=resolving("127.0.0.1"), **options)


# Limits


def test_download__too_large(label_studio):
    label_studio.files[PATH] = bytes(1001)
    with pytest.raises(UnavailableImageError, match="larger than 1000 bytes"):
        download(label_studio.url, PATH, max_bytes=1000)
    label_studio.files[PATH] = bytes(1000)
    assert download(label_studio.url, PATH, max_bytes=1000) == [bytes(1000)]


def test_download__too_large_and_not_announced(label_studio):
    label_studio.files[PATH] = bytes(200_000)
    label_studio.headers[PATH] = {"Content-Length": "", "Connection": "close"}
    with pytest.raises(UnavailableImageError, match="larger than 1000 bytes"):
        download(label_studio.url, PATH, max_bytes=1000)
    assert download(label_studio.url, PATH, max_bytes=200_000) == [bytes(200_000)]


def test_download__compressed_transfer(label_studio):
    label_studio.files[PATH] = gzip.compress(bytes(10_000_000))
    label_studio.headers[PATH] = {"Content-Encoding": "gzip"}
    with pytest.raises(UnavailableImageError, match="content encoding 'gzip': store the image without"):
        download(label_studio.url, PATH)


def test_download__shorter_than_announced(label_studio):
    label_studio.files[PATH] = b"pixels"
    label_studio.headers[PATH] = {"Content-Length": "100", "Connection": "close"}
    with pytest.raises(UnreachableError, match="3 attempts"):
        download(label_studio.url, PATH)


def test_download__slow_drip(label_studio):
    """A byte now and then keeps each read within its time; the whole has a time too."""
    label_studio.files[PATH] = bytes(1000)
    label_studio.drip_seconds = 0.02
    started = time.monotonic()
    with pytest.raises(UnreachableError, match=rf"{PATH}' is not there after 0.3 s"):
        download(label_studio.url, PATH, seconds=0.3)
    assert time.monotonic() - started < 2


def test_download__nobody_answers():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(UnreachableError, match=r"is not there after 0\.3 s"):
            download(f"http://127.0.0.1:{silent.getsockname()[1]}", PATH, seconds=0.3)


def test_download__embedded():
    assert download("", "data:;base64,YWJj") == [b"abc"]
    with pytest.raises(UnavailableImageError, match="more than 2 bytes"):
        download("", "data:;base64," + "A" * 8, max_bytes=2)


def test_download__cookies_are_not_kept(label_studio):
    label_studio.files[PATH] = b"pixels"
    label_studio.headers[PATH] = {"Set-Cookie": "session=1; Path=/"}

    async def run() -> int:
        client = LabelStudio(label_studio.url, LEGACY)
        await client.download(PATH)
        kept = len(client._client.cookies)
        await client.close()
        return kept

    assert asyncio.run(run()) == 0


@pytest.mark.parametrize("token", [LEGACY, PERSONAL])
def test_download__secrets_stay_out_of_the_log(label_studio, storage, caplog, token):
    label_studio.redirects[PATH] = storage.url + SIGNED
    storage.failures[SIGNED] = 403
    hosts = [f"127.0.0.1:{storage.port}"]
    with caplog.at_level(logging.DEBUG), pytest.raises(UnavailableImageError) as caught:
        download(label_studio.url, PATH, token=token, hosts=hosts)
    for secret in (token, "access-1", "5ecre7"):
        assert secret not in str(caught.value) + caplog.text


# Tasks that follow


def tasks_after(label_studio: FakeLabelStudio, *arguments, token: str = LEGACY) -> list:
    async def run() -> list:
        client = LabelStudio(label_studio.url, token, back_off_seconds=0.01)
        try:
            return await client.tasks_after(*arguments)
        finally:
            await client.close()

    return asyncio.run(run())


@pytest.mark.parametrize("token", [LEGACY, PERSONAL])
def test_tasks_after(label_studio, token):
    label_studio.tasks = [
        {"id": number, "project": project, "data": {"image": f"/{number}.png"}, "annotations": []}
        for number, project in ((1, 1), (2, 1), (3, 2), (4, 1), (5, 1))
    ]
    found = tasks_after(label_studio, 1, 1, 2, token=token)
    assert [(task.id, task.data) for task in found] == [(2, {"image": "/2.png"}), (4, {"image": "/4.png"})]
    assert tasks_after(label_studio, 1, 5, 2, token=token) == []
    assert "resolve_uri=false" in label_studio.asked[0][0]


def test_tasks_after__not_allowed(label_studio):
    with pytest.raises(UnavailableImageError, match="the list of tasks of project 1 with HTTP 401"):
        tasks_after(label_studio, 1, 1, 2, token="wrong")


def test_tasks_after__something_else(label_studio, monkeypatch):
    monkeypatch.setattr(label_studio, "tasks_page", lambda _: b"<html>")
    with pytest.raises(UnreachableError, match="does not answer with the tasks of project 1"):
        tasks_after(label_studio, 1, 1, 2)
