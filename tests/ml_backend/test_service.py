"""What a labeler asks for, through the application: corrections, several people, and those who watch."""

import asyncio
import copy
import json
import logging
import time
from typing import Any

import httpx
import numpy as np
import pytest

from maskloop.clicks import Click
from maskloop.journal import decode_entry
from maskloop.predictor import Prediction
from maskloop.regions import region_value, regions
from maskloop.sketches import Sketch
from tests.ml_backend.conftest import DiscPredictor, draw_discs, encode
from tests.ml_backend.test_app import (
    BASIC,
    EXCLUDE,
    GOOD,
    NOTHING,
    ONE_CLICK,
    TASK_24,
    TASK_25,
    Backend,
    clicks_of,
    region_of,
)

SHAPES = ["brush", "polygon", "bitmask"]
TAGS = {"brush": "BrushLabels", "polygon": "PolygonLabels", "bitmask": "BitmaskLabels"}


@pytest.fixture
def start(label_studio, photo):
    label_studio.files |= {TASK_24: encode(photo), TASK_25: encode(photo)}
    return lambda predictor=None, **settings: Backend(label_studio.url, predictor, **settings)


def drawn(region: dict[str, Any]) -> np.ndarray:
    (found,) = regions([region])
    return found.mask()


def refining(wire, mask: np.ndarray, shape: str = "brush", positive: bool = True) -> dict[str, Any]:
    """One click of the label Cell on a draft that holds a mask of the same."""
    body = wire(ONE_CLICK)
    kind = f"{shape}labels"
    region = {"id": "stored", "type": kind, "from_name": "brush", "to_name": "image"}
    region |= {"original_height": 48, "original_width": 64, "image_rotation": 0}
    region["value"] = region_value(mask, shape) | {kind: ["Cell"]}
    body["tasks"][0]["drafts"] = [{"id": 7, "updated_at": "2026-11-22T07:00:00Z", "result": [region]}]
    body["label_config"] = body["label_config"].replace("BrushLabels", TAGS[shape])
    body["params"]["context"]["result"][0]["is_positive"] = positive
    return body


def square(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((48, 64), bool)
    mask[top:bottom, left:right] = True
    return mask


STORED = square(10, 10, 40, 50)  # the captured click lies in it


# Corrections


class Biting(DiscPredictor):
    """Takes a disc out of the mask that it is shown, and moves its left border as well."""

    def predict(self, image, clicks, previous=None, box=None) -> Prediction:
        kept = (previous > 0.5) & ~draw_discs((48, 64), [Click(one.row, one.col) for one in clicks])
        kept[:, :14] = False
        return Prediction(0.9 * kept.astype(np.float32))


@pytest.mark.parametrize("shape", SHAPES)
def test_refine__keeps_the_id_and_the_shape_and_what_was_not_clicked(start, wire, shape):
    body = refining(wire, STORED, shape, positive=False)
    region = region_of(start(Biting()).post("/predict", body))
    assert (region["id"], region["type"], region["from_name"]) == ("stored", f"{shape}labels", "brush")
    assert region["value"][f"{shape}labels"] == ["Cell"]
    assert region["meta"]["refined"] is True
    (stored,) = regions([region])
    assert Sketch.parse(region["meta"]["sketch"]).difference(stored.runs()) == 0
    expected = STORED & ~draw_discs((48, 64), clicks_of(body))
    wrong = np.count_nonzero(drawn(region) != expected)
    assert wrong <= (12 if shape == "polygon" else 0)  # a polygon leaves the border a little


def test_refine__nothing_is_left(start, wire):
    assert start().post("/predict", refining(wire, STORED, positive=False)).json() == NOTHING


def test_refine__positive_click_that_only_points(start, wire):
    region = region_of(start().post("/predict", refining(wire, STORED)))
    assert region["id"] == "stored"
    np.testing.assert_array_equal(drawn(region), STORED)


def test_refine__adds_and_keeps_the_rest(start, wire):
    body = refining(wire, STORED)
    first = body["params"]["context"]["result"][0]
    second = first | {"id": "second", "value": first["value"] | {"x": 88.3, "y": 92.7}}
    body["params"]["context"]["result"].append(second)
    region = region_of(start().post("/predict", body))
    expected = STORED | draw_discs((48, 64), clicks_of(body)[1:])
    np.testing.assert_array_equal(drawn(region), expected)


def test_refine__click_outside_is_a_new_object(start, wire):
    body = refining(wire, square(0, 0, 5, 5))
    region = region_of(start().post("/predict", body))
    assert region["id"] != "stored"
    np.testing.assert_array_equal(drawn(region), draw_discs((48, 64), clicks_of(body)))


def test_refine__negative_click_outside_says_nothing(start, wire):
    assert start().post("/predict", refining(wire, square(0, 0, 5, 5), positive=False)).json() == NOTHING


def test_two_labels__two_regions_of_one_answer(start, wire):
    body = wire(EXCLUDE)
    other = body["params"]["context"]["result"][1]
    other["from_name"] = "include"
    other["value"] |= {"labels": ["Debris"], "keypointlabels": ["Debris"]}
    (answer,) = start().post("/predict", body).json()["results"]
    assert [region["value"]["brushlabels"] for region in answer["result"]] == [["Cell"], ["Debris"]]
    for region, click in zip(answer["result"], clicks_of(body), strict=True):
        np.testing.assert_array_equal(drawn(region), draw_discs((48, 64), [click]))
        assert region["meta"]["prompts"] == 1


# Limits


def test_too_many_clicks(start, wire):
    body = wire(ONE_CLICK)
    (prompt,) = body["params"]["context"]["result"]
    body["params"]["context"]["result"] = [prompt | {"id": f"click-{number}"} for number in range(6)]
    backend = start(max_clicks=5)
    reply = backend.post("/predict", body)
    assert (reply.status_code, "MASKLOOP_MAX_CLICKS" in reply.json()["error"]) == (422, True)
    body["params"]["context"]["result"].pop()
    assert backend.post("/predict", body).status_code == 200


def of_task(body: dict[str, Any], task: int) -> dict[str, Any]:
    """The same question about another task, which supersedes nothing."""
    body["tasks"][0]["id"] = task
    return body


def test_queue_full(start, wire):
    bodies = [of_task(wire(ONE_CLICK), task) for task in range(5)]

    async def ask(client: httpx.AsyncClient) -> list[httpx.Response]:
        return await asyncio.gather(*(client.post("/predict", json=body) for body in bodies))

    backend = start(DiscPredictor(seconds=0.3), queue=1)
    replies = backend.run(ask)
    refused = [reply for reply in replies if reply.status_code == 503]
    assert sum(reply.status_code == 200 for reply in replies) + len(refused) == 5
    assert 2 <= len(refused) <= 4
    assert all(int(reply.headers["Retry-After"]) >= 1 for reply in refused)
    assert all("MASKLOOP_QUEUE" in reply.json()["error"] for reply in refused)


def test_too_late(start, wire):
    began = time.perf_counter()
    reply = start(DiscPredictor(seconds=1.0), timeout_seconds=0.2).post("/predict", wire(ONE_CLICK))
    assert (reply.status_code, "MASKLOOP_TIMEOUT_SECONDS" in reply.json()["error"]) == (503, True)
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize("path", ["/predict", "/webhook", "/setup"])
def test_oversized_body(start, path):
    reply = start(max_body_mb=1).run(lambda client: client.post(path, content=b" " * (2**20 + 1)))
    assert (reply.status_code, "MASKLOOP_MAX_BODY_MB" in reply.json()["error"]) == (413, True)


def test_error_of_the_model__fails_its_request_only(start, wire):
    class Failing(DiscPredictor):
        failures = 1

        def predict(self, *arguments, **more):
            if self.failures:
                self.failures -= 1
                raise MemoryError("no memory")
            return super().predict(*arguments, **more)

    async def ask(client: httpx.AsyncClient) -> int:
        with pytest.raises(MemoryError):  # a server turns it into a 500
            await client.post("/predict", json=wire(ONE_CLICK))
        return (await client.post("/predict", json=wire(ONE_CLICK))).status_code

    assert start(Failing()).run(ask) == 200


# Those who watch


def test_ready(start):
    assert start().get("/ready").status_code == 200


def test_metrics__name_each_stage(start, wire):
    async def ask(client: httpx.AsyncClient) -> str:
        await client.post("/predict", json=wire(ONE_CLICK))
        await client.post("/predict", content=b"{")
        return (await client.get("/metrics")).text

    text = start().run(ask)
    for stage in ("parse", "fetch", "queue", "prepare", "predict", "encode", "total"):
        assert f'stage="{stage}"' in text


def test_status__is_a_page_that_tells_errors(start):
    async def ask(client: httpx.AsyncClient) -> httpx.Response:
        await client.post("/predict", content=b"<script>")
        return await client.get("/status")

    reply = start().run(ask)
    assert (reply.status_code, reply.headers["content-type"].split(";")[0]) == (200, "text/html")
    assert "/predict" in reply.text
    assert "no JSON" in reply.text


@pytest.mark.parametrize("path", ["/status", "/metrics", "/journal"])
def test_watching__takes_the_password(start, path):
    backend = start(**BASIC)
    assert backend.get(path).status_code == 401
    assert backend.get(path, auth=GOOD).status_code in {200, 404}


# The journal


def test_journal__none_is_kept(start):
    reply = start().get("/journal")
    assert (reply.status_code, "MASKLOOP_JOURNAL" in reply.json()["error"]) == (404, True)


def test_journal__a_line_for_each_answer(start, wire, tmp_path):
    async def ask(client: httpx.AsyncClient) -> list[httpx.Response]:
        await client.post("/predict", json=wire(ONE_CLICK))
        first = await client.get("/journal")
        await client.post("/predict", json=refining(wire, STORED))
        position = first.headers["X-Journal-Position"]
        return [first, await client.get("/journal", params={"after": position})]

    replies = start(journal=tmp_path / "journal").run(ask)
    (one,), (two,) = (map(decode_entry, reply.content.splitlines()) for reply in replies)
    assert (one.project, one.task, one.label, one.refined, one.shape) == (12, 24, "Cell", False, "brush")
    assert (two.region, two.refined, two.area) == ("stored", True, STORED.sum())
    assert (one.height, one.width, len(one.clicks)) == (48, 64, 1)


def test_journal__a_superseded_click_is_told_as_such(start, wire, tmp_path):
    newer = wire(EXCLUDE)
    older = copy.deepcopy(newer)
    older["params"]["context"]["result"].pop()

    async def ask(client: httpx.AsyncClient) -> list[httpx.Response]:
        tasks = [asyncio.create_task(client.post("/predict", json=wire(ONE_CLICK)))]
        for body in (older, newer):
            await asyncio.sleep(0.1)
            tasks.append(asyncio.create_task(client.post("/predict", json=body)))
        return [*await asyncio.gather(*tasks), await client.get("/journal")]

    backend = start(DiscPredictor(seconds=0.5), journal=tmp_path / "journal")
    _, one, other, journal = backend.run(ask)
    np.testing.assert_array_equal(drawn(region_of(one)), drawn(region_of(other)))
    entries = [decode_entry(line) for line in journal.content.splitlines()]
    seen = [(entry.task, len(entry.clicks), entry.outcome) for entry in entries]
    assert seen == [(25, 1, "superseded"), (24, 1, "mask"), (25, 2, "mask")]
    assert (backend.telemetry.total("answered"), backend.telemetry.total("superseded")) == (2, 1)


SECRETS = ["hunter2token", "person@example.org", "Jane Doe", "jane.doe", "20eb5cd1-tiny.png", "/data/upload"]


def test_journal__holds_nobody(start, wire, tmp_path, caplog):
    body = refining(wire, STORED, positive=False)
    body["params"] |= {"login": "jane.doe", "password": "hunter2token"}
    body["access_token"] = "hunter2token"
    person = {"id": 1, "email": "person@example.org", "first_name": "Jane Doe", "username": "jane.doe"}
    body["tasks"][0] |= {"updated_by": [person], "comment_authors": [person]}
    body["tasks"][0]["drafts"][0] |= {"user": "person@example.org", "created_username": "jane.doe"}

    async def ask(client: httpx.AsyncClient) -> str:
        headers = {"Authorization": "Token hunter2token", "Referer": "http://studio.example/?u=jane.doe"}
        for question in (body, wire(EXCLUDE)):
            assert (await client.post("/predict", json=question, headers=headers)).status_code == 200
        return (await client.get("/journal")).text

    with caplog.at_level(logging.DEBUG, "ml_backend"):
        text = start(journal=tmp_path / "journal").run(ask)
    assert text.count("\n") >= 1
    written = text + "".join(
        file.read_text(errors="replace") for file in (tmp_path / "journal").rglob("*") if file.is_file()
    )
    assert [secret for secret in SECRETS if secret in written] == []
    assert [secret for secret in SECRETS[:4] if secret in caplog.text] == []


# Images ahead of the clicks


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


def test_task_opened__loads_its_image_and_the_next(start, label_studio, wire):
    label_studio.tasks = [{"id": 26, "project": 12, "data": {"image": TASK_24}}]

    async def ask(client: httpx.AsyncClient) -> None:
        assert (await client.post("/predict", json=wire("predict_batch_1_tasks"))).json() == NOTHING
        await until(lambda: asked(label_studio) >= {TASK_24, TASK_25})

    start(prefetch=2).run(ask)


def test_first_click__loads_the_next(start, label_studio, wire):
    label_studio.tasks = [{"id": 25, "project": 12, "data": {"image": TASK_25}}]

    async def ask(client: httpx.AsyncClient) -> None:
        assert (await client.post("/predict", json=wire(ONE_CLICK))).status_code == 200
        await until(lambda: TASK_25 in asked(label_studio))

    start(prefetch=2).run(ask)


def test_task_opened__first_click_finds_the_image_prepared(start, label_studio, wire):
    label_studio.tasks = []
    backend = start(prefetch=2)

    def prepared() -> int:
        return backend.telemetry.latency("prepare").clicks

    async def ask(client: httpx.AsyncClient) -> None:
        opened = wire(ONE_CLICK) | {"params": {"context": None}}
        assert (await client.post("/predict", json=opened)).json() == NOTHING
        await until(lambda: prepared() == 1)
        assert (await client.post("/predict", json=wire(ONE_CLICK))).json() != NOTHING
        assert prepared() == 1

    backend.run(ask)


def test_tasks_created__loads_the_first(start, label_studio, wire):
    body = wire("webhook_TASKS_CREATED")
    addresses = [task["data"]["image"] for task in body["tasks"]]
    label_studio.files |= dict.fromkeys(addresses, label_studio.files[TASK_24])

    async def ask(client: httpx.AsyncClient) -> None:
        assert (await client.post("/webhook", json=body)).json() == {"events": 0}
        await until(lambda: addresses[0] in asked(label_studio))

    start(prefetch=2).run(ask)


def test_prefetch_off__asks_for_nothing(start, label_studio, wire):
    start(prefetch=0).post("/predict", wire("predict_batch_1_tasks"))
    start(prefetch=0).post("/webhook", wire("webhook_TASKS_CREATED"))
    assert label_studio.asked == []


def asked(label_studio) -> set[str]:
    return {path for path, _ in label_studio.asked}


def test_answer__is_json_that_label_studio_reads(start, wire):
    reply = start().post("/predict", wire(ONE_CLICK))
    assert reply.headers["content-type"] == "application/json"
    assert json.loads(reply.content)["results"][0]["result"][0]["to_name"] == "image"
