"""Pictures of the real page: the README's, and one of each look for those who want to see a change.

    python -m tests.browser.screenshots [--model FOLDER] [--looks FOLDER]

Writes assets/screenshot.png; with --looks also desktop and phone, light and dark, before and after an answer.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tests.browser.driving import ROOT, browsing, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

EXAMPLE = "loud and lively"
SCREENSHOT = ROOT / "assets" / "screenshot.png"


def opened(browser: Browser, url: str, width: int, scheme: Literal["light", "dark"], scale: float = 1.0) -> Page:
    """The page in a window of `width` CSS pixels."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, device_scale_factor=scale)
    page.goto(url)
    page.locator("#examples button").first.wait_for()
    page.wait_for_timeout(1_000)  # fonts
    return page


def answered(page: Page) -> None:
    """Press an example and wait for the whole answer."""
    page.get_by_role("button", name=EXAMPLE, exact=True).click()
    page.locator("#chart .confidence-set").nth(7).wait_for(timeout=30_000)
    page.locator("#spectrogram img").wait_for()
    page.mouse.move(0, 0)
    page.wait_for_timeout(1_500)  # the recorder's waveform


def looks(browser: Browser, url: str, folder: Path) -> None:
    """Every look into `folder`, the whole page each."""
    folder.mkdir(parents=True, exist_ok=True)
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for name, width in (("desktop", 1280), ("phone", 375)):
        for scheme in schemes:
            page = opened(browser, url, width, scheme)
            page.screenshot(path=folder / f"{name}-{scheme}-before.png", full_page=True)
            answered(page)
            page.screenshot(path=folder / f"{name}-{scheme}.png", full_page=True)
            page.close()


def main() -> int:
    """Serve the page, take the pictures, print where they are."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser.screenshots")
    parser.add_argument("--model", metavar="FOLDER", help="a model bundle other than the one that ships")
    parser.add_argument("--looks", metavar="FOLDER", type=Path, help="also write every look here")
    options = parser.parse_args()
    with browsing() as browser, serving(options.model) as url:
        page = opened(browser, url, 1240, "light", scale=1.5)
        answered(page)
        page.screenshot(path=SCREENSHOT, full_page=True)
        print(SCREENSHOT.relative_to(ROOT))
        if options.looks:
            looks(browser, url, options.looks)
            print(options.looks)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
