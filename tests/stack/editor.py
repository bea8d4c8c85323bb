"""Label Studio's editor in a real browser, as a labeler sees it."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright, Response

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
CONTROLS = ["include", "exclude", "box", "brush"]
"""As they stand in the labelling interface."""


def launch(playwright: Playwright) -> Browser:
    """Debian's Chromium; a machine without it fails with the remedy."""
    if not CHROMIUM.exists():
        pytest.fail(f"{CHROMIUM} is missing: install it with `apt-get install chromium`.")
    return playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)


class Editor:
    """A task that is open in the editor of somebody who is logged in."""

    def __init__(self, browser: Browser, stack: Stack, task: int) -> None:
        context = browser.new_context(viewport={"width": 1600, "height": 1000})
        context.add_init_script(SETTINGS)
        self._stack = stack
        self._task = task
        self.page: Page = context.new_page()
        self.page.set_default_timeout(60_000)

    def open(self) -> None:
        page, url = self.page, self._stack.config.label_studio_url
        page.goto(f"{url}/user/login/")
        page.fill("input[name=email]", EMAIL)
        page.fill("input[name=password]", self._stack.config.secrets.password)
        page.click("button[type=submit]")
        page.wait_for_url(lambda address: "/user/login" not in address, wait_until="commit")
        page.goto(f"{self._stack.project_url}?task={self._task}")
        page.wait_for_selector(".konvajs-content canvas")
        page.wait_for_function(LOADED)
        self._await_layout()
        if not page.evaluate("Htx.autoAnnotation"):
            page.click("[data-testid=bottombar-auto-annotation-toggle]", force=True)

    def choose(self, control: str, label: str) -> None:
        """Take the smart tool for points, and a label of one of the controls."""
        self._take_tool("key-point-tool", index=CONTROLS.index(control))
        if self.page.evaluate(f"Htx.annotationStore.selected.names.get('{control}').isSelected"):
            return  # a second click would deselect it
        row = self.page.locator(".lsf-labels").nth(CONTROLS.index(control))
        row.locator(".lsf-label", has_text=label).click()

    def click(self, row: int, col: int) -> dict[str, Any]:
        """Click a pixel, wait for the suggestion, and return what the backend answered."""
        x, y = self.page.evaluate(PLACE, [col, row])
        with self.page.expect_response(lambda answer: "/interactive-annotating" in answer.url) as caught:
            self.page.mouse.click(x, y)
        answer: Response = caught.value
        self.page.wait_for_function("() => !Htx.awaitingSuggestions")
        return dict(answer.json()["data"])

    @property
    def suggestions(self) -> int:
        return int(self.page.evaluate("Htx.annotationStore.selected.suggestions.size"))

    @property
    def brushed_regions(self) -> int:
        count = (
            "Htx.annotationStore.selected.regionStore.regions.filter(one => one.type == 'brushregion').length"
        )
        return int(self.page.evaluate(count))

    def accept(self) -> None:
        self.page.click("[data-testid=bottombar-accept-suggestions-button]")
        self.page.wait_for_function("() => Htx.annotationStore.selected.suggestions.size == 0")

    def submit(self) -> None:
        with self.page.expect_response(lambda answer: f"/tasks/{self._task}/annotations" in answer.url):
            self.page.click("[data-testid=bottombar-submit-button]")

    def _take_tool(self, name: str, index: int) -> None:
        self.page.locator("button.lsf-tool_smart").first.hover()
        tools = self.page.locator(f'button.lsf-tool_smart[aria-label="{name}"]')
        tools.nth(index).click()
        self.page.mouse.move(5, 5)

    def _await_layout(self) -> None:
        """The side panels move the canvas once: wait until it stands still."""
        canvas = self.page.locator(".konvajs-content").first
        before = None
        while before != (now := canvas.bounding_box()):
            before = now
            self.page.wait_for_timeout(250)
