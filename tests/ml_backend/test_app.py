"""The routes, asked in process by the requests that Label Studio 1.23.2 was captured sending."""

import asyncio
import copy
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import numpy as np
import pytest

from maskloop.clicks import Click
from maskloop.masks import decode_brush
from maskloop.predictor import Predictor
from ml_backend.app import create_app
from ml_backend.events import Prefect
from ml_backend.images import Images
from ml_backend.journal import Journal
from ml_backend.label_studio import LabelStudio
from ml_backend.prefetch import Prefetch
from ml_backend.readiness import Readiness
from ml_backend.service import Service
from ml_backend.settings import Settings
from ml_backend.telemetry import Telemetry
from tests.ml_backend.conftest import DiscPredictor, StillChampion, draw_discs, encode
from tests.ml_backend.fake_label_studio import LEGACY, serve_label_studio

TASK_24 = "/data/upload/12/20eb5cd1-tiny.png"
TASK_25 = "/data/upload/12/51403f6c-tiny2.png"
ONE_CLICK = "predict_interactive_1_keypoints"
EXCLUDE = "predict_interactive_include_exclude_controls"
NOTHING = {"results": [[]]}

Conversation = Callable[[httpx.AsyncClient], Awaitable[Any]]


class Backend:
    """A service in this process, without the network before it but with the one behind it."""

    def __init__(self, label_studio_url: str, predictor: Predictor | None = None, **settings: Any) -> None:
        settings = {"prefetch": 0} | settings
        self.settings = Settings(prefect_url="http://prefect.example/api", **settings)
        self.champion = StillChampion(predictor or DiscPredictor())
        self.label_studio_url = label_studio_url
        self.prefect_status = 204
        self.prefect_requests: list[httpx.Request] = []

    def run(self, conversation: Conversation) -> Any:
        return asyncio.run(self._run(conversation))

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return self.run(lambda client: client.post(path, json=body, **options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.run(lambda client: client.get(path, **options))

    async def _run(self, conversation: Conversation) -> Any:
        label_studio = LabelStudio(self.label_studio_url, LEGACY, back_off_seconds=0.01)
        images = Images(label_studio, max_pixels=self.settings.max_megapixels * 10**6)
        self.telemetry = Telemetry(lambda: self.champion.served.version)
        journal = Journal(self.settings.journal) if self.settings.journal else None
        service = Service(self.champion, images, self.settings, self.telemetry, journal)
        if self.settings.prefetch:
            service.prefetch = Prefetch(
                label_studio, images, self.settings.prefetch, lambda: service.busy, prepare=service.prepare
            )
        prefect = Prefect(self.settings.prefect_url, httpx.MockTransport(self._prefect))
        app = create_app(self.settings, service, prefect, Readiness())
        # An error that no handler answers fails the test: the transport raises it here.
        transport = httpx.ASGITransport(app)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport) as client:
            client.base_url = "http://backend.example"
            return await conversation(client)

    def _prefect(self, request: httpx.Request) -> httpx.Response:
        self.prefect_requests.append(request)
        return httpx.Response(self.prefect_status)


@pytest.fixture
def backend(label_studio, photo) -> Backend:
    label_studio.files |= {TASK_24: encode(photo), TASK_25: encode(photo)}
    return Backend(label_studio.url)


def region_of(reply: httpx.Response) -> dict[str, Any]:
    assert reply.status_code == 200, reply.text
    (answer,) = reply.json()["results"]
    (region,) = answer["result"]
    return region


def mask_of(reply: httpx.Response) -> np.ndarray:
    region = region_of(reply)
    return decode_brush(region["value"]["rle"], region["original_height"], region["original_width"])


def clicks_of(body: dict[str, Any], height: int = 48, width: int = 64) -> list[Click]:
    """The clicks of a request, all positive."""
    points = [prompt["value"] for prompt in body["params"]["context"]["result"]]
    return [Click(point["y"] / 100 * height - 0.5, point["x"] / 100 * width - 0.5) for point in points]


# Probes


@pytest.mark.parametrize("path", ["/", "/health"])
def test_health(backend, path):
    reply = backend.get(path)
    assert reply.status_code == 200
    assert reply.json() == {"status": "UP", "model_class": "maskloop", "model_version": "disc-1"}


def test_setup(backend, wire, caplog):
    with caplog.at_level(logging.DEBUG):
        reply = backend.post("/setup", wire("setup"))
    assert reply.json() == {"model_version": "disc-1"}
    assert wire("setup")["access_token"] not in caplog.text


def test_versions(backend):
    assert backend.get("/versions").json() == {"versions": ["disc-1"]}


def test_lifespan__stops_the_champion(backend):
    backend.get("/health")
    assert backend.champion.stopped


# Predictions


def test_predict__one_click(backend, wire):
    region = region_of(reply := backend.post("/predict", wire(ONE_CLICK)))
    expected = draw_discs((48, 64), clicks_of(wire(ONE_CLICK)))
    np.testing.assert_array_equal(mask_of(reply), expected)
    assert (region["from_name"], region["to_name"]) == ("brush", "image")
    assert (region["original_height"], region["original_width"]) == (48, 64)
    assert region["value"]["brushlabels"] == ["Cell"]
    assert region["score"] == pytest.approx(0.9)
    assert reply.json()["results"][0]["model_version"] == region["meta"]["model"] == "disc-1"
    assert region["meta"]["sha256"] == "d15c" * 16
    assert region["meta"]["prompts"] == 1


def test_predict__with_the_network(label_studio, wire, photo, checkpoint):
    label_studio.files[TASK_24] = encode(photo)
    predictor = Predictor.load(checkpoint)
    reply = Backend(label_studio.url, predictor).post("/predict", wire(ONE_CLICK))
    expected = predictor.predict(photo, clicks_of(wire(ONE_CLICK)))
    np.testing.assert_array_equal(mask_of(reply), expected.mask)
    assert region_of(reply)["meta"]["sha256"] == predictor.sha256


@pytest.mark.parametrize(
    ("name", "negative"),
    [
        ("predict_interactive_2_keypoints", []),
        ("predict_interactive_3_keypoints_one_negative", [2]),
        (EXCLUDE, [1]),
        ("predict_interactive_1_keypoints_with_existing_annotations", []),
    ],
)
def test_predict__several_clicks(backend, wire, name, negative):
    clicks = [
        Click(click.row, click.col, positive=number not in negative)
        for number, click in enumerate(clicks_of(wire(name)))
    ]
    np.testing.assert_array_equal(mask_of(backend.post("/predict", wire(name))), draw_discs((48, 64), clicks))


def test_predict__rectangle(backend, wire):
    reply = backend.post("/predict", wire("predict_interactive_rectangle"))
    np.testing.assert_array_equal(mask_of(reply), draw_discs((48, 64), [], box=(20, 36, 38, 54)))
    assert region_of(reply)["value"]["brushlabels"] == ["Debris"]


def test_predict__rectangle_and_clicks(backend, wire):
    body = wire(EXCLUDE)
    clicks = clicks_of(body)
    clicks[1] = Click(clicks[1].row, clicks[1].col, positive=False)
    (rectangle,) = wire("predict_interactive_rectangle")["params"]["context"]["result"]
    rectangle["value"]["labels"] = rectangle["value"]["rectanglelabels"] = ["Cell"]
    body["params"]["context"]["result"].append(rectangle)
    expected = draw_discs((48, 64), clicks, box=(20, 36, 38, 54))
    np.testing.assert_array_equal(mask_of(backend.post("/predict", body)), expected)


def test_predict__photo_turned_by_exif(backend, label_studio, wire, photo):
    # The file holds 48 rows of 64 pixels and says that a viewer turns it: Label Studio sees 64 rows of 48.
    label_studio.files[TASK_24] = encode(photo, "JPEG", orientation=6)
    reply = backend.post("/predict", wire(ONE_CLICK))
    np.testing.assert_array_equal(mask_of(reply), draw_discs((64, 48), clicks_of(wire(ONE_CLICK), 64, 48)))
    assert (region_of(reply)["original_height"], region_of(reply)["original_width"]) == (64, 48)


def test_predict__batch_has_no_context(backend, label_studio, wire):
    assert backend.post("/predict", wire("predict_batch_1_tasks")).json() == NOTHING
    body = wire("predict_batch_1_tasks")
    body["tasks"] *= 3
    assert backend.post("/predict", body).json() == {"results": [[], [], []]}
    assert label_studio.asked == []


@pytest.mark.parametrize(
    "params", [None, {}, {"context": None}, {"context": {}}, {"context": {"result": []}}]
)
def test_predict__no_prompts(backend, wire, params):
    assert backend.post("/predict", wire(ONE_CLICK) | {"params": params}).json() == NOTHING


def test_predict__only_negative_clicks(backend, label_studio, wire):
    body = wire(EXCLUDE)
    del body["params"]["context"]["result"][0]
    assert backend.post("/predict", body).json() == NOTHING
    assert label_studio.asked == []


def test_predict__empty_mask(backend, wire):
    body = wire(EXCLUDE)
    prompts = body["params"]["context"]["result"]
    prompts[1]["value"] = prompts[0]["value"]  # the negative click takes away what the positive one gave
    assert backend.post("/predict", body).json() == NOTHING


def test_predict__no_brush_in_the_configuration(backend, wire, caplog):
    body = wire(ONE_CLICK) | {"label_config": '<View><Image name="image" value="$image"/></View>'}
    assert backend.post("/predict", body).json() == NOTHING
    assert "without BrushLabels, PolygonLabels or BitmaskLabels" in caplog.text


def test_predict__concurrent_requests_get_their_own_answers(backend, wire):
    bodies = []
    for column in range(5, 60, 5):
        body = wire(ONE_CLICK)
        prompt = body["params"]["context"]["result"][0]
        prompt["id"] = f"click-{column}"  # another prompt and not the same one dragged
        prompt["value"]["x"] = (column + 0.5) / 64 * 100
        bodies.append(body)

    async def ask(client: httpx.AsyncClient) -> list[httpx.Response]:
        return await asyncio.gather(*(client.post("/predict", json=body) for body in bodies))

    for body, reply in zip(bodies, backend.run(ask), strict=True):
        np.testing.assert_array_equal(mask_of(reply), draw_discs((48, 64), clicks_of(body)))


def test_predict__health_answers_meanwhile(label_studio, wire, photo):
    label_studio.files[TASK_24] = encode(photo)
    backend = Backend(label_studio.url, DiscPredictor(seconds=1.0))

    async def ask(client: httpx.AsyncClient) -> tuple[httpx.Response, bool]:
        prediction = asyncio.create_task(client.post("/predict", json=wire(ONE_CLICK)))
        await asyncio.sleep(0.3)
        health = await client.get("/health")
        answered_first = not prediction.done()
        assert (await prediction).status_code == 200
        return health, answered_first

    health, answered_first = backend.run(ask)
    assert health.status_code == 200
    assert answered_first


# Errors


def prompt_error(wire, **fields: Any) -> dict[str, Any]:
    body = copy.deepcopy(wire(ONE_CLICK))
    body["params"]["context"]["result"][0] |= fields
    return body


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"{'tasks': []}"])
def test_predict__broken_json(backend, content):
    reply = backend.run(lambda client: client.post("/predict", content=content))
    assert reply.status_code == 400
    assert "no JSON" in reply.json()["error"]


def test_predict__nested_without_end(backend):
    for content in (b"[" * 100_000, b'{"tasks": ' + b"[" * 100_000, b'{"x": ' + b"[" * 100_000):
        reply = backend.run(lambda client, content=content: client.post("/predict", content=content))
        assert reply.status_code in {400, 422}


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ([], "the body"),
        ({}, "tasks"),
        ({"tasks": None}, "tasks"),
        ({"tasks": [None]}, "tasks.0"),
        ({"tasks": [{"data": []}]}, "tasks.0.data"),
        (
            {"tasks": [], "params": {"context": {"result": [{"type": "keypoint"}]}}},
            "params.context.result.0.value",
        ),
    ],
)
def test_predict__not_the_protocol(backend, body, place):
    reply = backend.post("/predict", body)
    assert reply.status_code == 422
    assert reply.json()["error"].startswith(f"{place}: ")


def test_predict__click_outside(backend, wire, caplog):
    reply = backend.post("/predict", prompt_error(wire, value={"x": 120, "y": 50}))
    assert reply.status_code == 422
    assert "click at x=120 %, y=50 % lies outside" in reply.json()["error"]
    assert reply.json()["error"] in caplog.text


def test_predict__turned_image(backend, wire):
    reply = backend.post("/predict", prompt_error(wire, image_rotation=90))
    assert (reply.status_code, "turned by 90" in reply.json()["error"]) == (422, True)


def test_predict__context_for_several_tasks(backend, wire):
    body = wire(ONE_CLICK)
    body["tasks"] *= 2
    assert backend.post("/predict", body).status_code == 422


def test_predict__task_without_image(backend, wire):
    body = wire(ONE_CLICK)
    body["tasks"][0]["data"] = {"text": "hello"}
    reply = backend.post("/predict", body)
    assert (reply.status_code, "data.image" in reply.json()["error"]) == (422, True)


def test_predict__image_on_another_host(backend, wire):
    body = wire(ONE_CLICK)
    body["tasks"][0]["data"]["image"] = "http://169.254.169.254/latest/meta-data/"
    reply = backend.post("/predict", body)
    assert (reply.status_code, "not on Label Studio" in reply.json()["error"]) == (422, True)


def test_predict__unknown_image(backend, label_studio, wire):
    label_studio.files.clear()
    reply = backend.post("/predict", wire(ONE_CLICK))
    assert (reply.status_code, "HTTP 404" in reply.json()["error"]) == (424, True)


def test_predict__unreadable_image(backend, label_studio, wire):
    label_studio.files[TASK_24] = b"no image at all"
    reply = backend.post("/predict", wire(ONE_CLICK))
    assert (reply.status_code, "no image in any of" in reply.json()["error"]) == (424, True)


def test_predict__label_studio_down(wire):
    with serve_label_studio() as server:
        backend = Backend(server.url)
    reply = backend.post("/predict", wire(ONE_CLICK))
    assert (reply.status_code, "Is it running" in reply.json()["error"]) == (502, True)


def test_predict__error_is_not_remembered(backend, label_studio, wire, photo):
    label_studio.files.clear()

    async def ask(client: httpx.AsyncClient) -> list[int]:
        before = await client.post("/predict", json=wire(ONE_CLICK))
        label_studio.files[TASK_24] = encode(photo)
        after = await client.post("/predict", json=wire(ONE_CLICK))
        return [before.status_code, after.status_code]

    assert backend.run(ask) == [424, 200]


def test_unknown_route(backend):
    assert backend.post("/train", {}).status_code == 404


# Webhooks


def test_webhook__becomes_an_event(backend, wire):
    reply = backend.post("/webhook", wire("webhook_ANNOTATION_CREATED"))
    assert (reply.status_code, reply.json()) == (200, {"events": 2})
    (request,) = backend.prefect_requests
    assert str(request.url) == "http://prefect.example/api/events"
    assert b'"labelstudio.project.12"' in request.content
    assert b"token" not in request.content


@pytest.mark.parametrize("name", ["webhook_ANNOTATION_CREATED_skipped", "webhook_TASKS_CREATED"])
def test_webhook__nothing_to_tell(backend, wire, name):
    assert backend.post("/webhook", wire(name)).json() == {"events": 0}
    assert backend.prefect_requests == []


def test_webhook__prefect_fails(backend, wire):
    backend.prefect_status = 500
    assert backend.post("/webhook", wire("webhook_START_TRAINING")).status_code == 200
    assert len(backend.prefect_requests) == 1


def test_webhook__broken_json(backend):
    reply = backend.run(lambda client: client.post("/webhook", content=b"{"))
    assert reply.status_code == 400


# Who may ask

GOOD = httpx.BasicAuth("studio", "password")
BAD = httpx.BasicAuth("studio", "passwort")
BASIC = {"basic_user": "studio", "basic_password": "password"}


@pytest.mark.parametrize(
    "path",
    [
        "/setup",
        "/predict",
        "/versions",
        "/webhook",
        "/x/health",
        "/health/",
        "/healthy",
        "http://backend.example//health",
        "/HEALTH",
    ],
)
@pytest.mark.parametrize("auth", [None, BAD], ids=["no password", "wrong password"])
def test_basic__every_path_but_the_probes(path, auth):
    reply = Backend("", **BASIC).get(path, auth=auth)
    assert reply.status_code == 401
    assert "MASKLOOP_BASIC_USER" in reply.json()["error"]


@pytest.mark.parametrize("path", ["/", "/health"])
def test_basic__probes_are_open(path):
    assert Backend("", **BASIC).get(path).status_code == 200


def test_basic__right_password(wire):
    backend = Backend("", **BASIC)
    assert backend.get("/versions", auth=GOOD).status_code == 200
    # Label Studio's Train button sends the password; its webhooks send none.
    assert backend.post("/webhook", wire("webhook_START_TRAINING"), auth=GOOD).status_code == 200
    assert backend.post("/webhook", wire("webhook_ANNOTATION_CREATED")).status_code == 401


@pytest.mark.parametrize("basic", [{}, BASIC], ids=["secret alone", "secret and password"])
def test_secret__opens_the_webhook_only(basic, wire):
    backend = Backend("", webhook_secret="open sesame", **basic)
    body = wire("webhook_ANNOTATION_CREATED")
    right, wrong = {"X-Maskloop-Secret": "open sesame"}, {"X-Maskloop-Secret": "open"}
    assert backend.post("/webhook", body, headers=right).status_code == 200
    assert backend.post("/webhook", body, headers=wrong).status_code == 401
    assert backend.post("/webhook", body).status_code == 401
    assert backend.get("/versions", headers=right).status_code == (401 if basic else 200)
