"""What a labeler clicks and accepts in a real browser is stored pixel by pixel as it was shown."""

import io
import secrets
from collections.abc import Callable, Iterator

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from maskloop.clicks import Click
from maskloop.images import decode_image
from maskloop.masks import polygon_to_mask
from maskloop.regions import regions
from pipelines.data.samples import SamplePhoto, load_samples
from pipelines.label_studio.interface import build_interface
from pipelines.stack import project as demo
from pipelines.stack.labeler import painted, prompt
from pipelines.stack.project import LABEL
from pipelines.stack.up import Stack
from tests.stack.editor import PROMPT_CONTROLS, Answer, Editor, launch, logged_in

pytestmark = pytest.mark.stack

Mask = npt.NDArray[np.bool_]
MakeEditor = Callable[..., Editor]

FLOWER = (220, 307)
"""(row, col) of the flower's heart."""
PETAL = (150, 300)
BESIDE = (60, 80)
"""Blurred green behind the flower."""
FLOWER_BOX = (66, 175, 362, 442)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = launch(playwright)
        yield running
        running.close()


@pytest.fixture(scope="module")
def flower() -> SamplePhoto:
    return next(photo for photo in load_samples() if photo.name == "flower")


@pytest.fixture(scope="module")
def labeler(browser: Browser, stack: Stack) -> Iterator[BrowserContext]:
    with logged_in(browser, stack) as context:
        yield context


@pytest.fixture
def open_task(stack: Stack, labeler: BrowserContext, flower: SamplePhoto) -> Iterator[MakeEditor]:
    """Opens the one task of a new project."""
    opened: list[Editor] = []

    def open_task(shape: str = "brush", photo: bytes = flower.image_bytes) -> Editor:
        client = stack.label_studio
        interface = build_interface([LABEL], shape)
        project = client.create_project(title=f"browser {secrets.token_hex(4)}", label_config=interface)["id"]
        client.upload(project, f"photo{flower.suffix}", photo)
        demo.ensure_connection(client, project, stack.config.backend_url, stack.config.secrets.webhook)
        (task,) = client.tasks(project)
        opened.append(Editor(labeler, stack, project, task["id"]))
        opened[-1].open()
        return opened[-1]

    yield open_task
    for editor in opened:
        editor.page.close()


def shown(answer: Answer) -> Mask:
    """The mask of an answer with one region."""
    (region,) = regions(answer["result"])
    return region.mask()


def stored(stack: Stack, editor: Editor) -> dict[str, Mask]:
    """The masks of the newest annotation by their region's id."""
    annotation = max(stack.label_studio.task(editor.task)["annotations"], key=lambda one: one["id"])
    return {one.id: one.mask() for one in regions(annotation["result"], frozenset(PROMPT_CONTROLS))}


def overlap(mask: Mask, target: Mask) -> float:
    return float((mask & target).sum() / (mask | target).sum())


def drawn(photo: SamplePhoto) -> Mask:
    return polygon_to_mask(photo.objects[0].rings, *decode_image(photo.image_bytes).shape[:2])


def test_click_in_browser(stack: Stack, open_task: MakeEditor, flower: SamplePhoto) -> None:
    editor = open_task()
    editor.choose("include", LABEL)

    answer = editor.click(*FLOWER)

    assert shown(answer)[FLOWER]
    assert overlap(shown(answer), drawn(flower)) > 0.5
    assert editor.suggestions == 1

    editor.accept()
    assert len(editor.regions) == 1
    editor.submit()

    (annotation,) = stack.label_studio.task(editor.task)["annotations"]
    (region,) = [one for one in annotation["result"] if one["type"] == "brushlabels"]
    assert region["value"]["brushlabels"] == [LABEL]
    assert region["meta"]["model"] == stack.served_version()
    ((_, mask),) = stored(stack, editor).items()
    assert np.array_equal(mask, shown(answer))


def test_five_clicks__excluded_by_alt_and_by_control(stack: Stack, open_task: MakeEditor) -> None:
    editor = open_task()
    editor.choose("include", LABEL)
    editor.click(*FLOWER)
    editor.click(*PETAL)
    editor.click(*BESIDE, key="Alt")
    editor.choose("exclude", LABEL)
    editor.click(380, 500)
    editor.choose("include", LABEL)
    answer = editor.click(300, 330)

    assert answer["result"][0]["meta"]["prompts"] == 5
    assert [shown(answer)[place] for place in (FLOWER, BESIDE, (380, 500))] == [True, False, False]
    assert editor.suggestions == 1

    editor.accept()
    editor.submit()

    (mask,) = stored(stack, editor).values()
    assert np.array_equal(mask, shown(answer))


def test_box__then_click_inside(stack: Stack, open_task: MakeEditor, flower: SamplePhoto) -> None:
    """The editor sends clicks and boxes apart; the box is found in the draft."""
    editor = open_task()
    editor.choose("box", LABEL)
    boxed = editor.draw_box(*FLOWER_BOX)
    editor.await_draft(editor.prompts[0])
    editor.choose("include", LABEL)
    answer = editor.click(*FLOWER, key="Control")  # the box itself would take a plain click

    click = prompt(Click(*FLOWER), *shown(answer).shape)
    alone = stack.label_studio.predict(stack.backend, demo_task(stack), [click])
    assert overlap(shown(boxed), drawn(flower)) > 0.8
    assert overlap(shown(answer), drawn(flower)) > 0.8
    assert not np.array_equal(shown(answer), shown(alone))
    assert editor.suggestions == 1

    editor.accept()
    editor.submit()

    (mask,) = stored(stack, editor).values()
    assert np.array_equal(mask, shown(answer))


def test_refine__accepted_mask_keeps_its_id(stack: Stack, open_task: MakeEditor) -> None:
    editor = open_task()
    editor.choose("include", LABEL)
    before = editor.click(*FLOWER)
    editor.accept()
    (region,) = editor.regions
    editor.await_draft(region)

    pointed = editor.click(*FLOWER, key="Control")
    assert np.array_equal(shown(pointed), shown(before))
    excluded = lowest(shown(before))
    editor.choose("exclude", LABEL)
    answer = editor.click(*excluded, key="Control")

    assert answer["result"][0]["id"] == region
    assert answer["result"][0]["meta"]["refined"]
    removed = shown(before) & ~shown(answer)
    assert removed[excluded]
    assert not (shown(answer) & ~shown(before)).any()
    assert removed.sum() < shown(before).sum() / 4
    assert not removed[: FLOWER[0]].any()  # the upper half is far away

    editor.accept()
    assert editor.regions == [region]
    editor.submit()

    masks = stored(stack, editor)
    assert list(masks) == [region]
    assert np.array_equal(masks[region], shown(answer))


@pytest.mark.parametrize("shape", ["polygon", "bitmask"])
def test_shape_that_the_project_asks_for(
    stack: Stack, open_task: MakeEditor, flower: SamplePhoto, shape: str
) -> None:
    editor = open_task(shape)
    editor.choose("include", LABEL)
    editor.click(*FLOWER)
    answer = editor.click(*PETAL)
    editor.accept()
    editor.submit()

    (annotation,) = stack.label_studio.task(editor.task)["annotations"]
    assert f"{shape}labels" in {one["type"] for one in annotation["result"]}
    (mask,) = stored(stack, editor).values()
    assert overlap(mask, drawn(flower)) > 0.5
    assert np.array_equal(mask, shown(answer))


def test_hundred_masks_on_one_photo(stack: Stack, open_task: MakeEditor, flower: SamplePhoto) -> None:
    editor = open_task()
    squares = [painted(square(row, col, drawn(flower).shape)) for row in range(10) for col in range(10)]
    stack.label_studio.submit(editor.task, squares, seconds=1.0)
    editor.open()
    assert len(editor.regions) == 100
    editor.choose("include", LABEL)
    answer = editor.click(*FLOWER)
    editor.accept()
    editor.update()

    masks = stored(stack, editor)
    assert len(masks) == 101
    assert np.array_equal(masks.pop(answer["result"][0]["id"]), shown(answer))
    before = {one.id: one.mask() for one in regions(squares)}
    assert before.keys() == masks.keys()
    assert all(np.array_equal(before[name], masks[name]) for name in before)


def test_photo_that_a_phone_turned(stack: Stack, open_task: MakeEditor, flower: SamplePhoto) -> None:
    editor = open_task(photo=turned(flower.image_bytes))
    editor.choose("include", LABEL)
    editor.click(*FLOWER)
    answer = editor.click(*PETAL)

    assert shown(answer).shape == drawn(flower).shape
    assert overlap(shown(answer), drawn(flower)) > 0.5

    editor.accept()
    editor.submit()

    (mask,) = stored(stack, editor).values()
    assert np.array_equal(mask, shown(answer))


def test_second_annotator__mask_of_her_own(stack: Stack, browser: Browser, open_task: MakeEditor) -> None:
    first = open_task()
    first.choose("include", LABEL)
    one = first.click(*FLOWER)
    first.accept()
    first.submit()

    with logged_in(browser, stack, sign_up(stack)) as context:
        second = Editor(context, stack, first.project, first.task)
        second.open()
        second.start_anew()
        second.choose("include", LABEL)
        other = second.click(*FLOWER)
        second.accept()
        second.submit()

    annotations = stack.label_studio.task(first.task)["annotations"]
    assert len({annotation["completed_by"]["id"] for annotation in annotations}) == 2
    assert other["result"][0]["id"] != one["result"][0]["id"]
    assert not other["result"][0]["meta"]["refined"]
    ((region, mask),) = stored(stack, second).items()
    assert region == other["result"][0]["id"]
    assert np.array_equal(mask, shown(other))


def demo_task(stack: Stack) -> int:
    """The flower among the demo's tasks."""
    tasks = stack.label_studio.tasks(stack.project)
    return next(int(task["id"]) for task in tasks if demo.uploaded_name(task).startswith("flower"))


def lowest(mask: Mask) -> tuple[int, int]:
    """A pixel of a mask three rows above its lower end, where one can click."""
    row = int(np.flatnonzero(mask.any(axis=1))[-1]) - 3
    cols = np.flatnonzero(mask[row])
    return row, int(cols[len(cols) // 2])


def square(row: int, col: int, shape: tuple[int, ...]) -> Mask:
    mask = np.zeros(shape, bool)
    mask[42 * row : 42 * row + 12, 64 * col : 64 * col + 12] = True
    return mask


def turned(photo: bytes) -> bytes:
    """A photo as a phone held upright stores it: turned to the left, with a note to turn it back."""
    image = Image.open(io.BytesIO(photo)).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, exif=exif)
    return file.getvalue()


def sign_up(stack: Stack) -> tuple[str, str]:
    """Somebody who follows the invitation of the labeler; email and password."""
    login = {"email": f"{secrets.token_hex(4)}@example.com", "password": secrets.token_urlsafe(12)}
    token = {"Authorization": f"Token {stack.config.secrets.token}"}
    with httpx.Client(base_url=stack.config.label_studio_url, trust_env=False) as client:
        invitation = client.get("/api/invite", headers=token).raise_for_status().json()["invite_url"]
        client.get(invitation).raise_for_status()
        form = login | {"csrfmiddlewaretoken": client.cookies["csrftoken"]}
        answer = client.post(invitation, data=form)
    assert answer.status_code == 302, answer.text
    return login["email"], login["password"]
