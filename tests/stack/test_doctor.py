import socket
from collections.abc import Iterable
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest

from pipelines.data.samples import load_samples
from pipelines.label_studio.checks import (
    Finding,
    Links,
    check_backend,
    check_backend_here,
    check_clock,
    check_interface,
    check_label_studio,
    check_webhook,
    examine_links,
)
from pipelines.label_studio.client import LabelStudio
from pipelines.label_studio.connection import SECRET_HEADER, WEBHOOK_ACTIONS, Wanted, connect
from pipelines.label_studio.interface import build_interface
from pipelines.stack import doctor
from pipelines.stack.config import Ports, StackConfig
from pipelines.stack.doctor import doctor_links, examine
from pipelines.stack.errors import RefusedError, StackError
from pipelines.stack.services import HOST
from pipelines.stack.up import Stack
from tests.stack.stub_backend import VERSION, StubBackend, serve_backend


def named(findings: Iterable[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_examine__nothing_runs(tmp_path: Path) -> None:
    found = named(examine(StackConfig(tmp_path, ports=Ports.free())))

    assert found["Python"].good
    assert found["git"].good
    assert not found["MLflow"].good
    assert "start it with `maskloop up`" in found["MLflow"].detail


def test_examine__label_studio_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKLOOP_LABEL_STUDIO", "no-such-program")

    found = named(examine(StackConfig(tmp_path, ports=Ports.free())))

    assert not found["Label Studio's program"].good
    assert "run `make setup`, or set MASKLOOP_LABEL_STUDIO" in found["Label Studio's program"].detail


def test_examine__port_belongs_to_another_program(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind((HOST, 0))  # bound but not listening: taken, and answers nobody
        ports = replace(Ports.free(), backend=other.getsockname()[1])

        found = named(examine(StackConfig(tmp_path, ports=ports)))

    assert "is taken by a program that is not backend" in found["backend"].detail


def test_examine__disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LEAST_GIGABYTES", 1e9)

    found = named(examine(StackConfig(tmp_path / "not made yet", ports=Ports.free())))

    assert not found["disk"].good
    assert "make room" in found["disk"].detail


@pytest.mark.stack
def test_examine__everything_is_well(stack: Stack) -> None:
    findings = list(examine(stack.config))

    assert [finding for finding in findings if not finding.good] == []
    assert named(findings)["model version"].detail == "maskloop-v1 is served, and is the champion"


# Links, each broken on purpose.


def links(client: LabelStudio, project: int, backend: str = "") -> dict[str, Finding]:
    return named(examine_links(client, Links(project, backend)))


def connected(client: LabelStudio, project: int, backend: StubBackend) -> None:
    """Connect the stub, and give the project a task."""
    user = {"basic_user": backend.user, "basic_password": backend.password}
    for _ in connect(client, project, Wanted(backend.url, ("Cell",), webhook_secret=backend.secret, **user)):
        pass
    photo = load_samples()[0]
    client.upload(project, f"photo{photo.suffix}", photo.image_bytes)


@pytest.mark.stack
def test_links__all_is_well(stack: Stack, project: int) -> None:
    with serve_backend(user="eve", password="pw", secret="s3cret") as backend:
        connected(stack.label_studio, project, backend)
        told: list[str] = []
        doctor_links(stack.label_studio, Links(project), told.append)

        hooks = [body["action"] for path, body in backend.heard if path == "/webhook"]
        (asked,) = [body for path, body in backend.heard if path == "/predict"]

    assert all(line.startswith("ok   ") for line in told)
    assert len(told) == 12
    assert "DOCTOR" in hooks
    (prompt,) = asked["params"]["context"]["result"]
    assert (prompt["from_name"], prompt["value"]["x"]) == ("include", 50.0)


@pytest.mark.stack
def test_links__a_real_click_on_a_real_photo(stack: Stack) -> None:
    finding = links(stack.label_studio, stack.project)["click"]

    assert finding.good
    assert "after" in finding.detail


@pytest.mark.stack
def test_links__token_is_wrong(stack: Stack) -> None:
    with LabelStudio(stack.config.label_studio_url, "0" * 40) as stranger:
        found = links(stranger, stack.project)
    assert list(found) == ["Label Studio from here", "token"]
    assert "the legacy token is refused: copy it anew" in found["token"].detail
    with LabelStudio(stack.config.label_studio_url, "a.b.c") as stranger:
        assert "it has expired or was revoked" in links(stranger, stack.project)["token"].detail


@pytest.mark.stack
@pytest.mark.usefixtures("legacy_tokens_disabled")
def test_links__legacy_tokens_are_disabled(stack: Stack, project: int, personal_token: str) -> None:
    found = links(stack.label_studio, project)
    assert "Make a personal access token on the page Account & Settings" in found["token"].detail
    with LabelStudio(stack.config.label_studio_url, personal_token) as client:
        assert links(client, project)["token"].detail.startswith("a personal access token, taken as")


@pytest.mark.stack
def test_links__no_such_project_and_nothing_connected(stack: Stack, project: int) -> None:
    assert "Take its number from its address" in links(stack.label_studio, 999999)["project"].detail
    found = links(stack.label_studio, project)
    assert "shows no image: add <Image" in found["labelling configuration"].detail
    assert found["backend in Label Studio"].detail.startswith("the project has none: run `maskloop connect`")


@pytest.mark.stack
def test_links__backend_stopped(stack: Stack, project: int) -> None:
    with serve_backend() as backend:
        connected(stack.label_studio, project, backend)
    found = links(stack.label_studio, project)
    assert "Connection refused" in found["backend in Label Studio"].detail
    assert "Is the backend running" in found["backend in Label Studio"].detail
    assert "give that as --backend" in found["backend from here"].detail
    assert "click" not in found


@pytest.mark.stack
def test_links__basic_authentication_changed(stack: Stack, project: int) -> None:
    with serve_backend(user="eve", password="pw") as backend:
        connected(stack.label_studio, project, backend)
        backend.password = "changed"
        finding = links(stack.label_studio, project)["backend in Label Studio"]
    assert not finding.good
    assert "--basic-user and --basic-password" in finding.detail


@pytest.mark.stack
def test_links__not_interactive(stack: Stack, project: int) -> None:
    client = stack.label_studio
    with serve_backend() as backend:
        connected(client, project, backend)
        (record,) = client.backends(project)
        client.update_backend(record["id"], project=project, url=backend.url, is_interactive=False)
        finding = links(client, project)["interactive"]
    assert not finding.good
    assert "run `maskloop connect`" in finding.detail


@pytest.mark.stack
def test_links__webhook(stack: Stack, project: int) -> None:
    client = stack.label_studio
    with serve_backend(secret="s3cret") as backend:
        connected(client, project, backend)
        backend.secret = "changed"
        assert "--webhook-secret" in links(client, project)["webhook"].detail
        (hook,) = client.webhooks(project)
        kept = {"url": hook["url"], "headers": hook["headers"], "send_for_all_actions": False}
        client.update_webhook(hook["id"], **kept, actions=["TASKS_CREATED"])
        assert "it is not sent for ANNOTATIONS_CREATED" in links(client, project)["webhook"].detail
        client.update_webhook(hook["id"], **kept, actions=hook["actions"], is_active=False)
        assert "it is switched off" in links(client, project)["webhook"].detail
        client.create_webhook(project=project, **kept, actions=[])
        assert "so that it hears all twice" in links(client, project)["webhook"].detail
        for one in client.webhooks(project):
            client.delete_webhook(one["id"])
        assert "none is sent to" in links(client, project)["webhook"].detail


@pytest.mark.stack
def test_links__another_backend_answers_here(stack: Stack, project: int) -> None:
    with serve_backend() as backend, serve_backend(version="stub-2") as other:
        connected(stack.label_studio, project, backend)
        finding = links(stack.label_studio, project, other.url)["model version"]
    assert not finding.good
    assert f"stub-2 is served here, and Label Studio hears of {VERSION}" in finding.detail


@pytest.mark.stack
def test_links__backend_cannot_read_the_image(stack: Stack, project: int) -> None:
    with serve_backend() as backend:
        connected(stack.label_studio, project, backend)
        backend.failure = (424, "Label Studio refuses /data/upload/1/a.png")
        told: list[str] = []
        with pytest.raises(StackError, match="1 of 12 checks failed: click"):
            doctor_links(stack.label_studio, Links(project), told.append)
        (bad,) = [line for line in told if line.startswith("BAD  ")]
        assert "Label Studio refuses /data/upload/1/a.png" in bad  # which Label Studio itself does not tell

    with serve_backend(user="eve", password="pw") as backend:
        connected(stack.label_studio, project, backend)
        backend.failure = (424, "a reason that only the backend's log has")
        finding = links(stack.label_studio, project)["click"]
    assert "check its MASKLOOP_LABEL_STUDIO_TOKEN" in finding.detail


def test_label_studio__is_down_or_something_else() -> None:
    assert "start it, or correct the address" in check_label_studio("http://127.0.0.1:9").detail
    with serve_backend() as backend:
        assert check_label_studio(backend.url).good


def test_clock__far_away() -> None:
    with serve_backend() as backend:
        assert check_clock("clock", backend.url).good
        backend.date = formatdate(0, usegmt=True)
        finding = check_clock("clock", backend.url)
        assert not finding.good
        assert "off ours: let NTP set the clocks" in finding.detail
        backend.date = "no date"
        assert check_clock("clock", backend.url).detail == "not told"


def test_backend_here__is_another_program() -> None:
    def answer(_: object, **__: object) -> httpx.Response:
        return httpx.Response(200, text="<html>")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx, "get", answer)
        finding = check_backend_here("http://127.0.0.1:9090")
    assert "not as maskloop's backend" in finding.detail


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (('name="exclude"', 'name="less"'), "no smart KeyPointLabels named exclude"),
        (("KeyPointLabels", "EllipseLabels"), "no smart KeyPointLabels takes clicks"),
        (("BrushLabels", "VideoLabels"), "nothing takes masks"),
        (('hotkey="2"', 'hotkey="2"/><Label value="Wall"'), "exclude has labels that no mask can get: Wall"),
        (('hotkey="4"', 'hotkey="4"/><Label value="Wall"'), "include lacks the labels Wall"),
    ],
)
def test_interface__faults(change: tuple[str, str], fault: str) -> None:
    config = build_interface(["Cell"])
    assert check_interface({"label_config": config}).good
    finding = check_interface({"label_config": config.replace(*change)})
    assert not finding.good
    assert fault in finding.detail
    assert "run `maskloop connect`" in finding.detail


class Blocking:
    """A Label Studio that refuses private addresses, in the words of the real one."""

    def update_backend(self, *_: object, **__: object) -> None:
        raise RefusedError("URL resolves to a reserved network address (block: 127.0.0.0/8)", 403)

    update_webhook = update_backend

    def webhooks(self, _: int) -> list[dict[str, object]]:
        switches = {"is_active": True, "send_payload": True, "send_for_all_actions": True}
        return [{"id": 1, "url": f"{RECORD['url']}/webhook", "headers": {}, "actions": [], **switches}]


RECORD = {"id": 1, "state": "DI", "url": "http://127.0.0.1:9090", "error_message": None}


def test_backend__label_studio_refuses_private_addresses() -> None:
    finding = check_backend(Blocking(), 1, RECORD)
    assert not finding.good
    assert "ML_BLOCK_LOCAL_IP=false" in finding.detail
    assert "SSRF_PROTECTION_ENABLED" not in finding.detail


def test_webhook__label_studio_refuses_private_addresses() -> None:
    finding = check_webhook(Blocking(), 1, RECORD, "")
    assert not finding.good
    assert "SSRF_PROTECTION_ENABLED=false" in finding.detail
    assert "ML_BLOCK_LOCAL_IP" not in finding.detail


class Hooked:
    """A Label Studio that sends one webhook to a backend."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        switches = {"is_active": True, "send_payload": True, "send_for_all_actions": False}
        place = {"id": 1, "url": f"{url}/webhook", "headers": headers, "actions": list(WEBHOOK_ACTIONS)}
        self.hook = {**place, **switches}

    def webhooks(self, _: int) -> list[dict[str, object]]:
        return [self.hook]

    def update_webhook(self, *_: object, **__: object) -> None:
        pass


def test_webhook__without_the_secret_that_the_backend_wants() -> None:
    with serve_backend(secret="s3cret") as backend:
        record = {**RECORD, "url": backend.url}
        finding = check_webhook(Hooked(backend.url, {}), 1, record, backend.url)
        mended = check_webhook(Hooked(backend.url, {SECRET_HEADER: "s3cret"}), 1, record, backend.url)
    assert not finding.good
    assert "--webhook-secret" in finding.detail
    assert mended.good
    assert mended.detail.endswith("with its secret")
