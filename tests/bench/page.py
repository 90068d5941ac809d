"""How long a visitor waits from pressing Stop to the whole answer, beside a bare Gradio page with the same components.

    python -m tests.bench.page [--short] [--model FOLDER] [--out FILE]

The bare page's functions return constants: it is what Gradio, the browser and the way between them cost. The two take
turns in one browser, so that the machine's moods meet both alike. The whole answer is there when sentence and chart
stand on the page and the picture is drawn. Writes JSON; the README's sentence comes from it.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from tests.bench import command
from tests.bench.timing import ratio
from tests.browser import driving

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.bench.command import Asked

PACKAGES = ("gradio", "playwright")
SECONDS = 3.0
"""Of each recording."""
WARM_UP = 2
"""Rounds that don't count."""

# Presses Stop itself, so that no message between the processes is measured. Done is when a new picture was decoded, the
# chart has its eight bars, and the sentence is no longer the invitation; looked at before every repaint.
STOP_TO_ANSWER = """async seen => {
  const stop = document.querySelector('#recording .stop-button');
  const began = performance.now();
  stop.click();
  for (;;) {
    await new Promise(requestAnimationFrame);
    const image = document.querySelector('#spectrogram img');
    if (!image || image.src === seen || !image.complete) continue;
    if (document.querySelectorAll('#chart .confidence-set').length < 8) continue;
    if (!document.querySelector('#answer strong')) continue;
    await image.decode();
    return {ms: performance.now() - began, seen: image.src};
  }
}"""


def once(page: Page, url: str) -> float:
    """Milliseconds from Stop to the whole answer, on a page freshly opened, as a visitor opens it."""
    page.goto(url)
    record = page.locator("#recording").get_by_role("button", name="Record", exact=True)
    record.wait_for()
    page.wait_for_timeout(500)
    record.click()
    page.locator("#recording .stop-button").wait_for()
    page.wait_for_timeout(1_000 * SECONDS)
    return float(page.evaluate(STOP_TO_ANSWER, "")["ms"])


def in_turn(model: str | None, rounds: int, warm_up: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each round that counts, ours and the bare page's."""
    times: tuple[list[float], list[float]] = ([], [])
    with (
        driving.serving(model) as ours,
        driving.serving(program=("-m", "tests.browser.bare")) as bare,
        driving.browsing() as browser,
    ):
        page = browser.new_context(viewport={"width": 1280, "height": 900}, permissions=["microphone"]).new_page()
        for number in range(warm_up + rounds):
            for mine, url in zip(times, (ours, bare), strict=True):
                taken = once(page, url)
                if number >= warm_up:
                    mine.append(taken)
    return times


def measure(asked: Asked) -> dict[str, Any]:
    """The medians of ours and of the bare page's."""
    ours, bare = in_turn(asked.model, *((1, 0) if asked.short else (25, WARM_UP)))
    return {
        "what": f"From Stop to the whole answer, a recording of {SECONDS:g} s",
        "rounds": len(ours),
        "ours": {"median_ms": statistics.median(ours)},
        "bare": {"what": "a bare Gradio page with the same components", "median_ms": statistics.median(bare)},
        "ratio": ratio(ours, bare),
    }


if __name__ == "__main__":
    raise SystemExit(command.run("page", __doc__, measure, PACKAGES))
