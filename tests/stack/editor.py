"""Label Studio's editor in a real browser, as a labeler sees it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright

from pipelines.stack.config import EMAIL
from pipelines.stack.up import Stack

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
# Auto-annotation on, suggestions wait to be accepted, and the label stays selected after a click.
SETTINGS = """
    localStorage.setItem('autoAnnotation', 'true');
    localStorage.setItem('autoAcceptSuggestions', 'false');
    localStorage.setItem('labelStudio:settings', '{"continuousLabeling":true}');
"""
# The editor opens zoomed by a little, so a pixel is found through its own transform.
PLACE = """([col, row]) => {
    const image = Htx.annotationStore.selected.names.get('image');
    const percent = [(col + .5) / image.naturalWidth * 100, (row + .5) / image.naturalHeight * 100];
    const canvas = [image.internalToCanvasX(percent[0]), image.internalToCanvasY(percent[1])];
    const [x, y] = image.zoomOriginalCoords(canvas);
    const box = image.stageRef.container().getBoundingClientRect();
    return [box.x + x, box.y + y];
}"""
LOADED = "() => window.Htx?.annotationStore?.selected?.names.get('image')?.naturalWidth > 1"
ALL = "Htx.annotationStore.selected.regionStore.regions"
REGIONS = f"{ALL}.filter(one => !one.dynamic).map(one => one.cleanId)"
PROMPTS = f"{ALL}.filter(one => one.dynamic).map(one => one.cleanId)"
PROMPT_CONTROLS = ("include", "exclude", "box")
"""As they stand in the labelling interface; the control that takes the masks follows."""
DRAFT_MILLISECONDS = 30_000
"""The editor saves a draft about every five seconds."""

PATIENCE_MILLISECONDS = 180_000
"""Two cores that also run other tests take a minute to load the editor, now and then."""

Answer = dict[str, Any]


def launch(playwright: Playwright) -> Browser:
    """Debian's Chromium; a machine without it fails with the remedy."""
    if not CHROMIUM.exists():
        pytest.fail(f"{CHROMIUM} is missing: install it with `apt-get install chromium`.")
    return playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)


@contextmanager
def logged_in(
    browser: Browser, stack: Stack, login: tuple[str, str] | None = None
) -> Iterator[BrowserContext]:
    """A browser's profile of somebody who has logged in; what its pages load is loaded once.

    Args:
        login: email and password; None: the stack's own labeler.
    """
    email, password = login or (EMAIL, stack.config.secrets.password)
    with browser.new_context(viewport={"width": 1600, "height": 1000}) as context:
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        context.add_init_script(SETTINGS)
        page = context.new_page()
        page.goto(f"{stack.config.label_studio_url}/user/login/")
        page.fill("input[name=email]", email)
        page.fill("input[name=password]", password)
        page.click("button[type=submit]")
        page.wait_for_url(lambda address: "/user/login" not in address, wait_until="commit")
        page.close()
        yield context


class Editor:
    """A task in the editor, on a page of its own."""

    def __init__(self, context: BrowserContext, stack: Stack, project: int, task: int) -> None:
        self._stack = stack
        self.project = project
        self.task = task
        self.page: Page = context.new_page()

    def open(self) -> None:
        """Load the page: the first time, or anew, as somebody who comes back to the task."""
        page = self.page
        page.goto(f"{self._stack.config.label_studio_url}/projects/{self.project}/data?task={self.task}")
        page.wait_for_selector(".konvajs-content canvas")
        page.wait_for_function(LOADED)
        self._await_layout()
        if not page.evaluate("Htx.autoAnnotation"):
            page.click("[data-testid=bottombar-auto-annotation-toggle]", force=True)

    def choose(self, control: str, label: str) -> None:
        """Take the smart tool of one of the controls, and its label."""
        if control == "box":
            self._take_tool("rectangle-tool", index=0)
        else:
            self._take_tool("key-point-tool", index=PROMPT_CONTROLS.index(control))
        if self.page.evaluate(f"Htx.annotationStore.selected.names.get('{control}').isSelected"):
            return  # a second click would deselect it
        row = self.page.locator(".lsf-labels").nth(PROMPT_CONTROLS.index(control))
        row.locator(".lsf-label", has_text=label).click()

    def place(self, row: int, col: int) -> tuple[float, float]:
        """Where a pixel of the image lies on the page, as (x, y)."""
        x, y = self.page.evaluate(PLACE, [col, row])
        return x, y

    def click(self, row: int, col: int, key: str | None = None) -> Answer:
        """Click a pixel, wait for the suggestion, and return what the backend answered.

        Args:
            key: held down meanwhile: Alt excludes, Control clicks on what lies under a mask.
        """
        x, y = self.place(row, col)
        with self._answer() as answers:
            if key:
                self.page.keyboard.down(key)
            self.page.mouse.click(x, y)
            if key:
                self.page.keyboard.up(key)
        return answers[0]

    def draw_box(self, top: int, left: int, bottom: int, right: int) -> Answer:
        """Draw a box from one pixel to another, and return what the backend answered."""
        start, end = self.place(top, left), self.place(bottom, right)
        with self._answer() as answers:
            self.page.mouse.move(*start)
            self.page.mouse.down()
            self.page.mouse.move(*end, steps=8)
            self.page.mouse.up()
        return answers[0]

    @property
    def suggestions(self) -> int:
        return int(self.page.evaluate("Htx.annotationStore.selected.suggestions.size"))

    @property
    def regions(self) -> list[str]:
        """Names of the regions that are accepted or drawn; questions to the model do not count."""
        return list(self.page.evaluate(REGIONS))

    @property
    def prompts(self) -> list[str]:
        """Names of the clicks and boxes that wait for their suggestion to be accepted."""
        return list(self.page.evaluate(PROMPTS))

    def start_anew(self) -> None:
        """Begin an annotation beside those that others have made."""
        self.page.click("[aria-label='Create an annotation']")
        self.page.wait_for_function("() => Htx.annotationStore.selected.regionStore.regions.length == 0")
        self.page.wait_for_function(LOADED)
        self._await_layout()

    def accept(self) -> None:
        self.page.click("[data-testid=bottombar-accept-suggestions-button]")
        self.page.wait_for_function("() => Htx.annotationStore.selected.suggestions.size == 0")

    def await_draft(self, region: str) -> None:
        """Wait until the draft that a request will carry holds a region."""
        for _ in range(DRAFT_MILLISECONDS // 250):
            drafts = self._stack.label_studio.task(self.task)["drafts"]
            if any(one["id"] == region for draft in drafts for one in draft["result"]):
                return
            self.page.wait_for_timeout(250)
        pytest.fail(f"Label Studio saved no draft with region {region} in {DRAFT_MILLISECONDS} ms.")

    def submit(self) -> None:
        with self.page.expect_response(lambda answer: f"/tasks/{self.task}/annotations" in answer.url):
            self.page.click("[data-testid=bottombar-submit-button]")

    def update(self) -> None:
        """Save an annotation that was submitted before."""
        with self.page.expect_response(
            lambda answer: "/api/annotations/" in answer.url and answer.request.method == "PATCH"
        ):
            self.page.click("[data-testid=bottombar-update-button]")

    @contextmanager
    def _answer(self) -> Iterator[list[Answer]]:
        """What the backend answers to what is done in the block, once the editor shows it."""
        answers: list[Answer] = []
        with self.page.expect_response(lambda answer: "/interactive-annotating" in answer.url) as caught:
            yield answers
        self.page.wait_for_function("() => !Htx.awaitingSuggestions")
        body = caught.value.json()
        if body.get("errors"):
            pytest.fail(f"The backend failed: {body['errors']}")
        answers.append(dict(body["data"]))

    def _take_tool(self, name: str, index: int) -> None:
        self.page.locator("button.lsf-tool_smart").first.hover()
        tools = self.page.locator(f'button.lsf-tool_smart[aria-label="{name}"]')
        tools.nth(index).click()
        self.page.mouse.move(5, 5)

    def _await_layout(self) -> None:
        """The side panels move the canvas once: wait until it stands still."""
        canvas = self.page.locator(".konvajs-content").first
        before = None
        for _ in range(PATIENCE_MILLISECONDS // 250):
            if before == (now := canvas.bounding_box()):
                return
            before = now
            self.page.wait_for_timeout(250)
        pytest.fail(f"The canvas still moves after {PATIENCE_MILLISECONDS} ms, last at {before}.")
