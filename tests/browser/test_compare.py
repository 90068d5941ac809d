"""The precisions side by side."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from ser_core.emotions import LABELS

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


def compare(page: Page) -> None:
    page.get_by_role("tab", name="Compare").click()
    page.locator("#compare").click()


def shares(page: Page) -> dict[str, list[float]]:
    """The table of emotions: row's name to its cells."""
    rows = page.locator("#emotions tbody tr")
    cells = [row.locator("th, td").all_inner_texts() for row in rows.all()]
    return {name: [float(cell) for cell in rest] for name, *rest in cells}


def test_each_precision_answers_and_the_negative_emotions_can_be_merged(page: Page) -> None:
    page.get_by_role("button", name="plain", exact=True).click()
    page.locator("#chart .confidence-set").nth(7).wait_for(timeout=30_000)
    compare(page)
    page.locator("#compare-said").get_by_text(re.compile("points apart")).wait_for(timeout=60_000)
    weights = page.locator("#weights tbody tr")
    assert weights.locator("th").all_inner_texts() == ["INT8", "FP16", "FP32 (ONNX)"]
    assert "%" in weights.first.inner_text()
    eight = shares(page)
    assert list(eight) == list(LABELS)
    assert all(sum(row[at] for row in eight.values()) == pytest.approx(100.0, abs=0.5) for at in range(3))
    page.get_by_label(re.compile("Merge sad")).check()
    page.locator("#emotions").get_by_text("negative").wait_for(timeout=30_000)
    five = shares(page)
    assert list(five) == ["neutral", "calm", "happy", "negative", "surprised"]
    negative = sum(eight[label][0] for label in ("sad", "angry", "fearful", "disgust"))
    assert five["negative"][0] == pytest.approx(negative, abs=0.25)


def test_without_a_recording_it_says_what_to_do(page: Page) -> None:
    compare(page)
    page.locator("#compare-said .refused").wait_for()
    assert "There is no recording yet" in page.locator("#compare-said").inner_text()
