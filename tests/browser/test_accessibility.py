"""What axe-core finds on the page, in light and dark, on a desktop and a phone, on every tab, before and after answers.

Gradio's own components have findings that nobody who uses them can mend. So a bare page with the same components is
looked at beside ours, and ours may have no other serious or critical ones.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser import driving
from tests.browser.bare import CLIPS
from tests.browser.driving import choose, long_recording

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

TABS = ("One recording", "Live", "Many files", "Compare", "About the model")
LISTED = {"aria-prohibited-attr", "nested-interactive"}
"""The rules that Gradio's components break: an empty component's label on a plain `div` ("Empty value"), and the file
component's button with an `input` inside."""


class Finding(NamedTuple):
    """A rule of axe-core, and what broke it: the element's tag and its label."""

    rule: str
    element: str


def findings(page: Page) -> dict[Finding, str]:
    """What is serious or critical on the page as it stands, with the element's HTML."""
    found = {}
    for violation in Axe().run(page).response["violations"]:
        if violation["impact"] in {"serious", "critical"}:
            for node in violation["nodes"]:
                tag = re.match(r"<([\w-]+)", node["html"])
                label = re.search(r'aria-label="([^"]*)"', node["html"])
                element = f"{tag[1] if tag else '?'} {label[1] if label else ''}".strip()
                found[Finding(violation["id"], element)] = node["html"][:300]
    return found


def walk(page: Page, ours: bool, recording: Path) -> dict[Finding, str]:
    """Every tab of a page, empty, with a refusal, and with answers; the recording is long enough for a timeline."""
    page.get_by_role("tab").first.wait_for()
    page.wait_for_timeout(800)
    found = findings(page)
    if ours:
        page.locator("#judge").click()
        page.locator("#answer .refused").wait_for()
        found |= findings(page)
    choose(page, recording)
    page.locator("#chart .confidence-set").nth(7).wait_for(timeout=30_000)
    page.locator("#spectrogram img").wait_for()
    if ours:
        page.locator("#segments td").first.wait_for()
        page.locator("#curves svg").wait_for()
    for tab in TABS:
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(500)
        if tab == "Many files":
            page.locator("#files input[type=file]").set_input_files(CLIPS[:2])
            page.locator("#files").get_by_text(CLIPS[1].stem).first.wait_for()
        if ours:
            answered(page, tab)
        found |= findings(page)
    return found


def answered(page: Page, tab: str) -> None:
    if tab == "Live":
        page.locator("#live").get_by_role("button", name="Record", exact=True).click()
        page.locator("#live-chart .confidence-set").first.wait_for(timeout=30_000)
        page.locator("#live").get_by_role("button", name="Stop", exact=True).click()
        page.get_by_text("Stopped; the sound is not kept.").wait_for(timeout=15_000)
    if tab == "Many files":
        page.locator("#judge-all").click()
        page.get_by_text("2 of 2 files judged.").wait_for(timeout=30_000)
    if tab == "Compare":
        page.locator("#compare").click()
        page.locator("#emotions td").first.wait_for(timeout=60_000)
    if tab == "About the model":
        for fold in page.locator("button.label-wrap").all():
            if fold.is_visible():
                fold.click()


@pytest.fixture(scope="module")
def bare(browser: Browser) -> Iterator[set[Finding]]:
    """What a bare Gradio page has."""
    with driving.serving(program=("-m", "tests.browser.bare")) as url:
        page = browser.new_page()
        page.goto(url)
        yield set(walk(page, False, CLIPS[0]))
        page.close()


def test_what_gradio_itself_breaks_is_what_is_listed(bare: set[Finding]) -> None:
    assert {finding.rule for finding in bare} >= LISTED


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
def test_nothing_is_serious_but_what_gradio_itself_breaks(
    browser: Browser, url: str, bare: set[Finding], width: int, scheme: Literal["light", "dark"], tmp_path: Path
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, permissions=["microphone"]
    )
    page = context.new_page()
    page.goto(url)
    found = walk(page, True, long_recording(tmp_path))
    context.close()
    own: dict[Any, str] = {finding: node for finding, node in found.items() if finding not in bare}
    assert own == {}
    assert {finding.rule for finding in found} <= LISTED
