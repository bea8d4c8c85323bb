"""What a labeler's request comes to, through the routes and the real parts behind them."""

import asyncio
import json
import time

import cv2
import httpx
import numpy as np
import pytest

from maskloop.clicks import Click
from maskloop.journal import read_entries
from maskloop.predictor import Prediction
from maskloop.regions import region_value, regions
from tests.ml_backend.conftest import DiscPredictor, draw_discs, encode
from tests.ml_backend.test_app import BASIC, GOOD, NOTHING, ONE_CLICK, TASK_24, Backend, backend, region_of

__all__ = ["backend"]

HEIGHT, WIDTH = 48, 64
OLD = np.zeros((HEIGHT, WIDTH), bool)
OLD[10:35, 10:50] = True
KINDS = [("brush", "BrushLabels"), ("polygon", "PolygonLabels"), ("bitmask", "BitmaskLabels")]


def click(body, row: float, col: float, positive: bool = True, number: int = 0, label: str = "Cell"):
    """A body with one more click."""
    prompts = body["params"]["context"]["result"]
    prompt = prompts[0] | {"id": f"p{len(prompts)}{number}", "is_positive": positive, "from_name": "include"}
    place = {"x": (col + 0.5) / WIDTH * 100, "y": (row + 0.5) / HEIGHT * 100, "width": 0.2}
    prompt["value"] = place | {"labels": [label], "keypointlabels": [label]}
    prompts.append(prompt)
    return body


def clicked(wire, *clicks, **fields):
    body = wire(ONE_CLICK)
    for one in clicks:
        click(body, *one, **fields)
    del body["params"]["context"]["result"][0]
    return body


def configured(body, shape: str, tag: str):
    body["label_config"] = (
        f'<View><Image name="image" value="$image"/>'
        f'<{tag} name="mask" toName="image"><Label value="Cell"/></{tag}></View>'
    )
    body["tasks"][0]["drafts"] = []
    return body


def with_old(body, shape: str, stored: str = "drafts"):
    kind = f"{shape}labels"
    region = {
        "id": "oldregion1",
        "type": kind,
        "from_name": "mask",
        "to_name": "image",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "value": region_value(OLD, shape) | {kind: ["Cell"]},
    }
    body["tasks"][0][stored] = [{"id": 1, "result": [region], "updated_at": "2026-01-01T00:00:00Z"}]
    return body


def pixels(region) -> np.ndarray:
    (found,) = regions([region])
    return found.mask()


@pytest.mark.parametrize(("shape", "tag"), KINDS)
def test_predict__shape_of_the_configuration(backend, wire, shape, tag):
    region = region_of(backend.post("/predict", configured(wire(ONE_CLICK), shape, tag)))
    assert (region["type"], region["value"][f"{shape}labels"]) == (f"{shape}labels", ["Cell"])
    expected = pixels(
        region_of(backend.post("/predict", configured(wire(ONE_CLICK), "brush", "BrushLabels")))
    )
    union = (pixels(region) | expected).sum()
    assert (pixels(region) & expected).sum() / union > (0.85 if shape == "polygon" else 0.9999)


class Correcting(DiscPredictor):
    """Draws its discs into the previous mask, of which it loses a pixel along the border, as networks do."""

    def predict(self, image, clicks, previous=None, box=None) -> Prediction:
        plane = previous.probability if isinstance(previous, Prediction) else previous
        kept = np.zeros(image.shape[:2], np.uint8) if plane is None else (plane > 0.5).astype(np.uint8)
        mask = cv2.erode(kept, np.ones((3, 3), np.uint8)).astype(bool)
        added = draw_discs(image.shape[:2], [one for one in clicks if one.positive])
        taken = draw_discs(image.shape[:2], [Click(one.row, one.col) for one in clicks if not one.positive])
        return Prediction(0.9 * ((mask | added) & ~taken).astype(np.float32))


@pytest.fixture
def correcting(label_studio, photo) -> Backend:
    label_studio.files[TASK_24] = encode(photo)
    return Backend(label_studio.url, Correcting())


@pytest.mark.parametrize(("shape", "tag"), KINDS)
def test_predict__corrects_a_stored_mask(correcting, wire, shape, tag):
    body = clicked(wire, (20, 20, True), (20, 52, True), (30, 12, False))
    region = region_of(correcting.post("/predict", with_old(configured(body, shape, tag), shape)))
    mask = pixels(region)
    assert region["id"] == "oldregion1"
    assert region["meta"]["refined"] is True
    assert mask[20, 52]  # added
    assert not mask[30, 12]  # taken away
    far = np.ones_like(OLD)
    for row, col in ((20, 52), (30, 12)):
        far[row - 7 : row + 8, max(col - 7, 0) : col + 8] = False
    np.testing.assert_array_equal(mask[far], OLD[far])  # left alone, border and all


def test_predict__pointing_at_a_stored_mask_shows_it(backend, wire):
    body = with_old(configured(clicked(wire, (20, 20, True)), "brush", "BrushLabels"), "brush")
    region = region_of(backend.post("/predict", body))
    np.testing.assert_array_equal(pixels(region), OLD)


def test_predict__first_click_beside_a_stored_mask_is_a_new_object(backend, wire):
    body = with_old(configured(clicked(wire, (40, 55, True)), "brush", "BrushLabels"), "brush")
    assert region_of(backend.post("/predict", body))["id"] != "oldregion1"


def test_predict__negative_click_on_what_was_submitted(correcting, wire):
    body = configured(clicked(wire, (20, 20, False)), "brush", "BrushLabels")
    region = region_of(correcting.post("/predict", with_old(body, "brush", "annotations")))
    assert region["id"] == "oldregion1"
    assert not pixels(region)[20, 20]
    # another person's positive click is about an object of his own
    body = configured(clicked(wire, (20, 20, True)), "brush", "BrushLabels")
    assert (
        region_of(correcting.post("/predict", with_old(body, "brush", "annotations")))["id"] != "oldregion1"
    )


def test_predict__box_of_the_draft(backend, wire):
    body = wire("predict_interactive_rectangle")
    (box,) = body["params"]["context"]["result"]
    box["value"]["labels"] = box["value"]["rectanglelabels"] = ["Cell"]
    asked = clicked(wire, (30, 45, True))
    asked["tasks"][0]["drafts"] = [{"id": 1, "result": [box], "updated_at": "2026-01-01T00:00:00Z"}]
    mask = pixels(region_of(backend.post("/predict", asked)))
    assert mask[20:38, 36:54].all()  # the disc predictor fills the box that it is given
    assert mask.sum() == 18 * 18


def test_predict__two_labels_are_two_regions(backend, wire):
    body = clicked(wire, (20, 20, True))
    click(body, 40, 50, label="Debris", number=9)
    (answer,) = backend.post("/predict", body).json()["results"]
    assert [region["value"]["brushlabels"] for region in answer["result"]] == [["Cell"], ["Debris"]]
    assert pixels(answer["result"][0])[20, 20]
    assert pixels(answer["result"][1])[40, 50]


def test_predict__too_many_clicks(label_studio, wire, photo):
    label_studio.files[TASK_24] = encode(photo)
    reply = Backend(label_studio.url, max_clicks=2).post("/predict", clicked(wire, *[(5, 5, True)] * 3))
    assert (reply.status_code, "MASKLOOP_MAX_CLICKS" in reply.json()["error"]) == (422, True)


def slow(label_studio, photo, **settings) -> Backend:
    label_studio.files[TASK_24] = encode(photo)
    return Backend(label_studio.url, DiscPredictor(seconds=0.3), **settings)


def test_predict__too_many_people(label_studio, wire, photo):
    bodies = [clicked(wire, (20, 20, True), number=number) for number in range(6)]

    async def ask(client: httpx.AsyncClient) -> list[httpx.Response]:
        return await asyncio.gather(*(client.post("/predict", json=body) for body in bodies))

    replies = slow(label_studio, photo, queue=1).run(ask)
    statuses = [reply.status_code for reply in replies]
    assert {200, 503} == set(statuses)
    assert all(reply.headers["Retry-After"] == "1" for reply in replies if reply.status_code == 503)


def test_predict__too_long(label_studio, wire, photo):
    reply = slow(label_studio, photo, timeout_seconds=0.1).post("/predict", clicked(wire, (20, 20, True)))
    assert (reply.status_code, "MASKLOOP_TIMEOUT_SECONDS" in reply.json()["error"]) == (503, True)


def test_predict__newer_click_takes_the_place_of_an_older(label_studio, wire, photo):
    other, older, newer = clicked(wire, (5, 5, True), number=7), clicked(wire, (20, 20, True)), None
    newer = click(json.loads(json.dumps(older)), 40, 50)

    async def ask(client: httpx.AsyncClient) -> list[httpx.Response]:
        async def later(seconds: float, body) -> httpx.Response:
            await asyncio.sleep(seconds)
            return await client.post("/predict", json=body)

        return await asyncio.gather(later(0, other), later(0.1, older), later(0.15, newer))

    service = slow(label_studio, photo)
    _, one, two = service.run(ask)
    assert [region_of(one)[key] for key in ("id", "value")] == [
        region_of(two)[key] for key in ("id", "value")
    ]
    assert pixels(region_of(one))[40, 50]
    assert service.telemetry.total("superseded") == 1


# Watching


def test_ready(backend):
    assert backend.get("/ready").status_code == 200


def test_metrics_and_status(backend, wire):
    async def ask(client: httpx.AsyncClient) -> tuple[str, str]:
        await client.post("/predict", json=wire(ONE_CLICK))
        await client.post("/predict", json={})
        return (await client.get("/metrics")).text, (await client.get("/status")).text

    metrics, page = backend.run(ask)
    for stage in ("parse", "fetch", "queue", "predict", "encode", "total"):
        assert f'stage="{stage}"' in metrics
    assert "disc-1" in page
    assert "Object missing required field `tasks`" in page.replace("&#39;", "'")


@pytest.mark.parametrize("path", ["/metrics", "/status", "/journal"])
def test_watching__needs_the_password(path):
    assert Backend("", **BASIC).get(path).status_code == 401
    assert Backend("", **BASIC).get(path, auth=GOOD).status_code in {200, 404}


def test_predict__body_too_large(backend):
    reply = Backend("", max_body_mb=1).run(lambda client: client.post("/predict", content=b" " * 2**21))
    assert (reply.status_code, "MASKLOOP_MAX_BODY_MB" in reply.json()["error"]) == (413, True)


def test_predict__bomb(label_studio, wire):
    label_studio.files[TASK_24] = encode(np.zeros((2000, 2000, 3), np.uint8))
    reply = Backend(label_studio.url, max_megapixels=1).post("/predict", wire(ONE_CLICK))
    assert (reply.status_code, "2000 x 2000" in reply.json()["error"]) == (424, True)


# The journal


def test_journal__what_was_clicked_and_nothing_about_whom(label_studio, wire, photo, tmp_path):
    label_studio.files[TASK_24] = encode(photo)
    body = clicked(wire, (20, 20, True), (40, 50, False))
    body["tasks"][0] |= {
        "completed_by": {"email": "ann@example.com"},
        "data": {"image": TASK_24, "who": "Ann"},
    }
    body["params"] |= {"login": "ann-login", "password": "ann-password"}

    async def ask(client: httpx.AsyncClient) -> httpx.Response:
        await client.post("/predict", json=body)
        return await client.get("/journal")

    reply = Backend(label_studio.url, journal=tmp_path).run(ask)
    (entry,) = read_entries(tmp_path).entries
    assert [(one.row, one.col, one.positive) for one in entry.clicks] == [(20, 20, True), (40, 50, False)]
    assert (entry.project, entry.task, entry.label, entry.model) == (12, 24, "Cell", "disc-1")
    assert reply.headers["X-Journal-Position"]
    for secret in ("ann", "Ann", "upload", "password", label_studio.url, "0123456789abcdef"):
        assert secret not in reply.text


def test_journal__none_is_kept(backend):
    assert backend.get("/journal").status_code == 404


# Loading ahead


def ahead(label_studio, photo, path: str, body) -> list[str]:
    """The files asked for after a request, of tasks 24 to 26."""
    for number in (24, 25, 26):
        label_studio.files[f"/{number}.png"] = encode(photo)
        label_studio.tasks.append({"id": number, "project": 12, "data": {"image": f"/{number}.png"}})

    async def ask(client: httpx.AsyncClient) -> None:
        assert (await client.post(path, json=body)).status_code == 200
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline and len(files()) < 3:
            await asyncio.sleep(0.02)

    def files() -> list[str]:
        return [path for path, _ in label_studio.asked if path.endswith(".png")]

    Backend(label_studio.url, prefetch=3).run(ask)
    return files()


def test_task_opened__its_image_and_the_next(label_studio, wire, photo):
    body = wire("predict_batch_1_tasks")
    body["tasks"][0] |= {"id": 24, "data": {"image": "/24.png"}}
    assert ahead(label_studio, photo, "/predict", body) == ["/24.png", "/25.png", "/26.png"]


def test_tasks_created__their_images(label_studio, wire, photo):
    body = wire("webhook_TASKS_CREATED")
    body["tasks"] = [{"id": number, "data": {"image": f"/{number}.png"}} for number in (24, 25, 26)]
    assert ahead(label_studio, photo, "/webhook", body) == ["/24.png", "/25.png", "/26.png"]


def test_predict__only_negative_clicks_on_nothing(backend, wire):
    body = configured(clicked(wire, (40, 55, False)), "brush", "BrushLabels")
    assert backend.post("/predict", with_old(body, "brush")).json() == NOTHING
