"""The server and the browser that the tests of this folder share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.browser.driving import browsing, chromium, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page


OF_GRADIO = {"Another request was made to initiate an encoding."}
"""What Gradio 6.31's recorder throws when Record is pressed a second time; it records all the same."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if chromium() is None:
        message = "the browser tests need Chromium; get it (Debian: apt-get install chromium) and run them again"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with browsing() as launched:
        yield launched


@pytest.fixture(scope="session")
def url(browser: Browser) -> Iterator[str]:
    """Where the page is served, by the model that ships or by the bundle whose folder SER_MODEL names."""
    with serving(os.environ.get("SER_MODEL")) as address:
        yield address


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """The page, freshly opened on a desktop; a test fails where the browser met an error in the page's scripts."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, permissions=["microphone"])
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    opened.goto(url)
    opened.locator("#judge").wait_for()
    yield opened
    context.close()
    assert [error for error in errors if error not in OF_GRADIO] == []
