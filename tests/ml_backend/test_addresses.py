import base64
import ipaddress

import pytest

from ml_backend.addresses import MAX_ADDRESS, Addresses, embedded, is_public, short
from ml_backend.errors import RequestError, UnavailableImageError

HOME = "http://labels.example"
ELSEWHERE = "https://images.example/a.png"


@pytest.mark.parametrize("address", ["/data/upload/1/a.png", "http://labels.example:80/data/upload/1/a.png"])
def test_url__label_studio(address):
    addresses = Addresses(HOME)
    url = addresses.url(address)
    assert str(url) == "http://labels.example/data/upload/1/a.png"
    assert addresses.owns(url)


@pytest.mark.parametrize(
    "address",
    [
        "http://elsewhere.example/a.png",
        "//elsewhere.example/a.png",
        "http://labels.example:81/a.png",
        "https://labels.example/a.png",
        "http://labels.example.elsewhere.example/a.png",
        "http://169.254.169.254/latest/meta-data/",
        "http://2852039166/latest/meta-data/",
    ],
)
def test_url__other_host(address):
    with pytest.raises(RequestError, match=r"not on Label Studio at http://labels\.example.*IMAGE_HOSTS"):
        Addresses(HOME).url(address)


@pytest.mark.parametrize(
    "address",
    [
        "http://user:secret@labels.example/a.png",
        "http://labels.example@images.example/a.png",
        "http://labels.example\\@images.example/a.png",
    ],
)
def test_url__user_name(address):
    with pytest.raises(RequestError, match="user names and passwords in addresses are not sent") as caught:
        Addresses(HOME, ["images.example"]).url(address)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        ("images.example", "https://images.example/a.png"),
        ("images.example", "http://images.example/a.png"),
        ("images.example", "http://IMAGES.example:80/a.png"),
        ("images.example:9000", "http://images.example:9000/a.png"),
        ("images.example:443", "https://images.example/a.png"),
        ("10.0.0.5:9000", "http://10.0.0.5:9000/a.png"),
        ("[fd00::5]:9000", "http://[fd00:0::5]:9000/a.png"),
        ("bücher.example", "http://xn--bcher-kva.example/a.png"),
    ],
)
def test_url__host_in_the_list(entry, address):
    assert Addresses(HOME, [entry]).url(address).path == "/a.png"
    assert Addresses("", [entry]).url(address).path == "/a.png"


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        ("images.example", "http://images.example:8080/a.png"),
        ("images.example", "http://www.images.example/a.png"),
        ("images.example:9000", "http://images.example/a.png"),
        ("images.example:80", "https://images.example/a.png"),
        ("images.example", "http://images.example.elsewhere.example/a.png"),
    ],
)
def test_url__host_that_only_resembles_one_of_the_list(entry, address):
    with pytest.raises(RequestError, match=r"add \S+ to MASKLOOP_IMAGE_HOSTS"):
        Addresses(HOME, [entry]).url(address)


def test_url__not_configured():
    with pytest.raises(RequestError, match="set MASKLOOP_LABEL_STUDIO_URL"):
        Addresses("").url("/data/upload/1/a.png")
    with pytest.raises(RequestError, match="set MASKLOOP_LABEL_STUDIO_URL"):
        Addresses("").url("s3://bucket/a.png", task=1)
    with pytest.raises(RequestError, match="MASKLOOP_LABEL_STUDIO_URL, which is not set"):
        Addresses("").url("http://images.example/a.png")


@pytest.mark.parametrize("scheme", ["s3", "gs", "azure-blob"])
@pytest.mark.parametrize("task", [24, "24"])
def test_url__cloud_storage(scheme, task):
    uri = f"{scheme}://bucket/a ü?.png"
    url = Addresses("http://labels.example/sub").url(uri, task)
    assert url.path == "/sub/tasks/24/presign/"
    assert base64.urlsafe_b64decode(url.params["fileuri"]).decode() == uri


@pytest.mark.parametrize("task", [None, "", "24/../../api", "-1", "²"])
def test_url__cloud_storage_without_a_task(task):
    with pytest.raises(RequestError, match="task's id"):
        Addresses(HOME).url("s3://bucket/a.png", task)


@pytest.mark.parametrize(
    "address", ["file:///etc/passwd", "a.png", "ftp://x", "redis://a/b", "", "gopher://x"]
)
def test_url__not_fetched(address):
    with pytest.raises(RequestError, match=r"not one that is fetched.*s3, gs, azure-blob"):
        Addresses(HOME).url(address)


@pytest.mark.parametrize("address", ["http://[::1/a\x00.png", "http://labels.example:port/", "/a\x00"])
def test_url__no_address(address):
    with pytest.raises(RequestError, match="no address"):
        Addresses(HOME).url(address)


def test_url__endless():
    with pytest.raises(RequestError, match=f"{MAX_ADDRESS + 1} characters") as caught:
        Addresses(HOME).url("/" + "a" * MAX_ADDRESS)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://images.example/a", "javascript:1"])
def test_redirected__not_the_web(location):
    addresses = Addresses(HOME, ["images.example"])
    with pytest.raises(RequestError, match=r"is redirected to an address that is no plain http"):
        addresses.redirected(addresses.url("/a"), location, "'/a'")


def test_redirected__label_studio_behind_another_scheme():
    addresses = Addresses(HOME)
    message = (
        r"is redirected to https://labels\.example, and that is not on Label Studio at http://labels\.example"
    )
    with pytest.raises(RequestError, match=message):
        addresses.redirected(addresses.url("/a"), "https://labels.example/a", "'/a'")


def test_redirected__relative_to_the_host_that_answers():
    addresses = Addresses(HOME, ["images.example"])
    assert str(addresses.redirected(addresses.url(ELSEWHERE), "/b", "")) == "https://images.example/b"


@pytest.mark.parametrize("peer", ["93.184.215.14", "2606:2800:220::1", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_is_public(peer):
    assert is_public(ipaddress.ip_address(peer))


@pytest.mark.parametrize(
    "peer",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%1",
        "fec0::1",
        "fd00::1",
        "ff02::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    ],
)
def test_is_public__not(peer):
    assert not is_public(ipaddress.ip_address(peer))


def test_check_peer__private_address_must_be_named_by_its_number_and_port():
    peer = ipaddress.ip_address("10.0.0.5")
    addresses = Addresses(HOME, ["minio:9000", "10.0.0.5:9000"])
    addresses.check_peer(peer, addresses.url("http://minio:9000/a.png"), "'a'")
    for hosts in (["minio:9000"], ["minio:9000", "10.0.0.5"], ["minio:9000", "10.0.0.6:9000"]):
        other = Addresses(HOME, hosts)
        with pytest.raises(RequestError, match=r"minio leads to 10\.0\.0\.5.*add 10\.0\.0\.5:9000 to"):
            other.check_peer(peer, other.url("http://minio:9000/a.png"), "'a'")


def test_short__without_secrets():
    assert (
        short("https://user:pass@images.example/a.png?X-Amz-Signature=abc")
        == "'https://images.example/a.png'"
    )
    assert short("/a.png#token") == "'/a.png'"
    assert len(short("x" * 10_000)) < 130
    assert short("data:image/png;base64," + "A" * 1000) == "'data:image/png;base64,AAAAAAAAAAAAAAAAAA'"


def test_embedded():
    assert embedded("data:image/png;base64,YWJj", 3) == b"abc"
    assert embedded("data:,a%20b", 3) == b"a b"
    assert embedded("data:;base64,YQ%3D%3D", 1) == b"a"


@pytest.mark.parametrize("address", ["data:image/png;base64", "data:image/png;base64,%%%", "data:;base64,A"])
def test_embedded__broken(address):
    with pytest.raises(RequestError, match="data:"):
        embedded(address, 100)


@pytest.mark.parametrize("address", ["data:;base64," + "A" * 8, "data:,abcde"])
def test_embedded__too_large(address):
    with pytest.raises(UnavailableImageError, match="more than 2 bytes: scale it down"):
        embedded(address, 2)
