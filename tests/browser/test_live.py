"""The microphone while it is on."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from tests.browser import driving

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page, Request

pytestmark = pytest.mark.browser

ANSWER = re.compile(r"(Sounds|Not sure: perhaps) \w+ \(\d+\s%\)")


def warm(page: Page) -> None:
    """Wait until the server has warmed up, which slows its first answers."""
    page.get_by_role("button", name="plain", exact=True).click()
    page.locator("#chart .confidence-set").nth(7).wait_for(timeout=60_000)


def start(page: Page) -> None:
    page.get_by_role("tab", name="Live").click()
    page.wait_for_timeout(1_000)  # the recorder's own script, which Gradio doesn't wait for either
    page.locator("#live").get_by_role("button", name="Record", exact=True).click()


def stop(page: Page) -> None:
    page.locator("#live").get_by_role("button", name="Stop", exact=True).click()


def counted(page: Page, seconds: str) -> None:
    """Wait until so many seconds, a regular expression, were heard."""
    page.locator("#live-now").get_by_text(re.compile(rf"\b{seconds} of \d+ seconds")).wait_for(timeout=30_000)


def test_the_answer_follows_the_voice_and_stopping_forgets_it(page: Page) -> None:
    warm(page)
    start(page)
    state, now = page.locator("#live-state"), page.locator("#live-now")
    state.get_by_text("Listening").wait_for(timeout=30_000)
    now.get_by_text(ANSWER).wait_for(timeout=30_000)
    page.locator("#live-chart .confidence-set").nth(7).wait_for()
    seen, sent = set(), 0

    def count(request: Request) -> None:
        nonlocal sent
        sent += request.url.endswith("/upload") or "/upload?" in request.url

    page.on("request", count)
    began = time.monotonic()
    for _ in range(50):
        page.wait_for_timeout(100)
        seen.add(page.locator("#live-picture img").get_attribute("src"))
    seconds = time.monotonic() - began
    assert 3 <= len(seen) <= seconds + 2
    assert sent <= 1.5 * seconds + 2
    stop(page)
    page.get_by_text("Stopped; the sound is not kept.").wait_for(timeout=15_000)
    assert ANSWER.search(now.inner_text())


def test_it_can_be_started_again(page: Page) -> None:
    for _ in range(2):
        start(page)
        counted(page, "[12]")
        stop(page)
        page.locator("#live").get_by_role("button", name="Record", exact=True).wait_for(timeout=15_000)
        page.wait_for_timeout(1_000)  # the browser's encoder, which Gradio doesn't wait for


def test_before_it_starts_it_says_what_to_do(page: Page) -> None:
    page.get_by_role("tab", name="Live").click()
    assert "from the third second on" in page.locator("#live-state").inner_text()
    assert page.locator("#live-chart .confidence-set").count() == 0


SHORT = """
from ser_core import stream
stream.MAX_S = stream.Stream.__init__.__kwdefaults__["max_s"] = 5.0
import app
app.run()
"""


def test_it_ends_by_itself_and_keeps_no_sound(browser: Browser, tmp_path: Path) -> None:
    environment = {"GRADIO_TEMP_DIR": str(tmp_path)}
    with driving.serving(program=("-c", SHORT), environment=environment) as url:
        context = browser.new_context(permissions=["microphone"])
        page = context.new_page()
        page.goto(url)
        page.locator("#judge").wait_for()
        examples = sounds_in(tmp_path)
        warm(page)
        start(page)
        page.get_by_text("The 5 seconds are over; the sound is not kept.").wait_for(timeout=60_000)
        page.locator("#live").get_by_role("button", name="Record", exact=True).wait_for(timeout=15_000)
        page.wait_for_timeout(2_000)  # pieces that were on their way
        page.get_by_text("The 5 seconds are over; the sound is not kept.").wait_for()
        assert ANSWER.search(page.locator("#live-now").inner_text())
        assert len(sounds_in(tmp_path) - examples) <= 5  # of some fifty pieces; those that Gradio dropped are swept
        context.close()


def sounds_in(folder: Path) -> set[Path]:
    """Every file in a server's folder that is a sound."""
    return {path for path in folder.rglob("*") if path.suffix == ".wav"}
