"""How long a visitor waits from pressing Stop to the whole answer, beside a bare Gradio page with the same components.

    python -m tests.bench.page [--rounds N] [--seconds S] [--out FILE]

The bare page's functions return constants: it is what Gradio, the browser and the way between them cost. The two take
turns in one browser, so that the machine's moods meet both alike. The whole answer is there when sentence and chart
stand on the page and the picture is drawn. Writes JSON; the README's sentence comes from it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.path import cpu_name
from tests.browser import driving

if TYPE_CHECKING:
    from playwright.sync_api import Page

OUT = Path(__file__).parent / "page.json"
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


def once(page: Page, url: str, seconds: float) -> float:
    """Milliseconds from Stop to the whole answer, on a page freshly opened, as a visitor opens it."""
    page.goto(url)
    record = page.locator("#recording").get_by_role("button", name="Record", exact=True)
    record.wait_for()
    page.wait_for_timeout(500)
    record.click()
    page.locator("#recording .stop-button").wait_for()
    page.wait_for_timeout(1_000 * seconds)
    return float(page.evaluate(STOP_TO_ANSWER, "")["ms"])


def measure(rounds: int, seconds: float) -> tuple[list[float], list[float]]:
    """Milliseconds of each round, ours and the bare page's."""
    times: tuple[list[float], list[float]] = ([], [])
    with (
        driving.serving() as ours,
        driving.serving(program=("-m", "tests.browser.bare")) as bare,
        driving.browsing() as browser,
    ):
        page = browser.new_context(viewport={"width": 1280, "height": 900}, permissions=["microphone"]).new_page()
        for number in range(WARM_UP + rounds):
            for mine, url in zip(times, (ours, bare), strict=True):
                taken = once(page, url, seconds)
                if number >= WARM_UP:
                    mine.append(taken)
    return times


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.page")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each recording")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    ours, bare = measure(args.rounds, args.seconds)
    result: dict[str, Any] = {
        "command": "python -m tests.bench.page",
        "what": f"From Stop to the whole answer, a recording of {args.seconds:g} s",
        "rounds": args.rounds,
        "ours": {"median_ms": statistics.median(ours)},
        "bare": {"what": "a bare Gradio page with the same components", "median_ms": statistics.median(bare)},
        "ratio": statistics.median(a / b for a, b in zip(ours, bare, strict=True)),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in ("gradio", "playwright")},
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
