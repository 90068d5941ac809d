"""Pictures of the real page: the README's, and one of each look for those who want to see a change.

    python -m tests.browser.screenshots [--model FOLDER] [--looks FOLDER]

Writes assets/screenshot.png; with --looks, into that folder: desktop and phone, light and dark, before and after an
answer, each tab.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tests.browser.driving import ROOT, browsing, choose, long_recording, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SCREENSHOT = ROOT / "assets" / "screenshot.png"


def opened(browser: Browser, url: str, width: int, scheme: Literal["light", "dark"], scale: float = 1.0) -> Page:
    """The page in a window of `width` CSS pixels."""
    page = browser.new_page(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        device_scale_factor=scale,
        permissions=["microphone"],
    )
    page.goto(url)
    page.locator("#examples button").first.wait_for()
    page.wait_for_timeout(1_000)  # fonts
    return page


def answered(page: Page, recording: Path) -> None:
    """Upload a recording and wait for the whole answer."""
    choose(page, recording)
    page.locator("#segments td").first.wait_for(timeout=30_000)
    page.locator("#spectrogram img").wait_for()
    page.mouse.move(0, 0)
    page.wait_for_timeout(2_000)  # the recorder's waveform and the curves


def tabs(page: Page, folder: Path, name: str) -> None:
    """A picture of each tab but the first, with an answer in it; `page` has answered on the first."""
    for tab, act, sign in (
        ("Live", "#live .record-button", "#live-chart .confidence-set"),
        ("Compare", "#compare", "#emotions td"),
        ("About the model", None, None),
    ):
        page.get_by_role("tab", name=tab).click()
        if act and sign:
            page.locator(act).click()
            page.locator(sign).first.wait_for(timeout=60_000)
        page.wait_for_timeout(1_500)
        page.screenshot(path=folder / f"{name}-{tab.lower().replace(' ', '-')}.png", full_page=True)


def looks(browser: Browser, url: str, recording: Path, folder: Path) -> None:
    """Every look into `folder`, the whole page each."""
    folder.mkdir(parents=True, exist_ok=True)
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for name, width in (("desktop", 1280), ("phone", 375)):
        for scheme in schemes:
            page = opened(browser, url, width, scheme)
            page.screenshot(path=folder / f"{name}-{scheme}-before.png", full_page=True)
            answered(page, recording)
            page.screenshot(path=folder / f"{name}-{scheme}.png", full_page=True)
            tabs(page, folder, f"{name}-{scheme}")
            page.close()


def main() -> int:
    """Serve the page, take the pictures, print where they are."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser.screenshots")
    parser.add_argument("--model", metavar="FOLDER", help="a model bundle other than the one that ships")
    parser.add_argument("--looks", metavar="FOLDER", type=Path, help="write every look here, and not the README's")
    options = parser.parse_args()
    with browsing() as browser, serving(options.model) as url, tempfile.TemporaryDirectory() as scratch:
        recording = long_recording(Path(scratch))
        if options.looks:
            looks(browser, url, recording, options.looks)
            print(options.looks)
        else:
            page = opened(browser, url, 1240, "light", scale=1.5)
            answered(page, recording)
            page.screenshot(path=SCREENSHOT, full_page=True)
            print(SCREENSHOT.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
