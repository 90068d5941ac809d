"""The microphone while it is on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

ANSWER = re.compile(r"(Sounds|Not sure: perhaps) \w+ \(\d+\s%\)")


def start(page: Page) -> None:
    page.get_by_role("tab", name="Live").click()
    page.locator("#live").get_by_role("button", name="Record", exact=True).click()


def stop(page: Page) -> None:
    page.locator("#live").get_by_role("button", name="Stop", exact=True).click()


def test_the_answer_follows_the_voice_and_stopping_forgets_it(page: Page) -> None:
    page.get_by_role("button", name="plain", exact=True).click()  # until it answers, it warms up
    page.locator("#chart .confidence-set").nth(7).wait_for(timeout=30_000)
    start(page)
    state, now = page.locator("#live-state"), page.locator("#live-now")
    state.get_by_text(re.compile(r"Listening: [1-9]\d* of 120 seconds")).wait_for(timeout=30_000)
    now.get_by_text(ANSWER).wait_for(timeout=30_000)
    page.locator("#live-chart .confidence-set").nth(7).wait_for()
    seen = set()
    for _ in range(4):
        page.wait_for_timeout(1_100)
        seen.add(page.locator("#live-picture img").get_attribute("src"))
    assert len(seen) >= 3
    assert "busy" not in state.inner_text()
    stop(page)
    page.get_by_text("Stopped; the sound is forgotten.").wait_for(timeout=15_000)
    assert ANSWER.search(now.inner_text())


def test_it_can_be_started_again(page: Page) -> None:
    for _ in range(2):
        start(page)
        page.locator("#live-state").get_by_text(re.compile(r"Listening: [12] of 120")).wait_for(timeout=30_000)
        stop(page)
        page.locator("#live").get_by_role("button", name="Record", exact=True).wait_for(timeout=15_000)


def test_short_of_three_seconds_it_says_what_to_do(page: Page) -> None:
    page.get_by_role("tab", name="Live").click()
    assert "from the third second on" in page.locator("#live-state").inner_text()
    assert page.locator("#live-chart .confidence-set").count() == 0
