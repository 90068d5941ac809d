"""Many files at once."""

from __future__ import annotations

import csv
import json
import re
from typing import TYPE_CHECKING

import pytest

from page import files
from ser_core.emotions import LABELS
from tests.browser.driving import ROOT, long_recording

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

CLIPS = sorted((ROOT / "assets" / "examples").glob("*.wav"))


def judge_all(page: Page, paths: list[Path]) -> None:
    page.get_by_role("tab", name="Many files").click()
    page.locator("#files input[type=file]").set_input_files(paths)
    page.locator("#files").get_by_text(paths[-1].stem).first.wait_for()
    page.locator("#judge-all").click()


def saved(page: Page, button: str) -> str:
    with page.expect_download() as download:
        page.locator(button).click()
    return download.value.path().read_text(encoding="utf-8")


def test_failures_stand_beside_successes_and_all_can_be_taken_along(page: Page, tmp_path: Path) -> None:
    junk = tmp_path / "junk.wav"
    junk.write_bytes(b"no sound, only words. " * 100)
    judge_all(page, [*CLIPS[:3], junk])
    page.locator("#files-said").get_by_text("3 of 4 files judged.").wait_for(timeout=60_000)
    shown = page.locator("#files-table").inner_text()
    assert all(path.name in shown for path in (*CLIPS[:3], junk))
    assert "is no sound file that can be read" in shown
    rows = list(csv.DictReader(saved(page, "#files-csv").splitlines()))
    assert [row["source"] for row in rows] == [*(path.name for path in CLIPS[:3]), "junk.wav"]
    assert rows[0]["label"] in LABELS
    assert rows[3]["error"]
    answers = json.loads(saved(page, "#files-json"))
    assert [answer["label"] for answer in answers[:3]] == [row["label"] for row in rows[:3]]
    assert "error" in answers[3]


def test_no_files_is_told(page: Page) -> None:
    page.get_by_role("tab", name="Many files").click()
    page.locator("#judge-all").click()
    page.get_by_text("Choose some sound files first.").wait_for()


def test_stopping_ends_it_and_gives_the_place_to_others(page: Page, tmp_path: Path) -> None:
    recording = long_recording(tmp_path).read_bytes()
    many = []
    for number in range(files.MOST):
        path = tmp_path / f"voice-{number:02}.wav"
        path.write_bytes(recording)
        many.append(path)
    judge_all(page, many)
    for _ in range(2):
        # Early, of a work of many seconds.
        page.locator("#files-said").get_by_text(re.compile(rf"\b[1-9]/{files.MOST}")).wait_for()
        page.locator("#stop-all").click()
        said = page.locator("#files-said").get_by_text("Stopped.")
        said.wait_for()
        page.wait_for_timeout(2_000)
        assert said.is_visible()
        assert "voice-00.wav" not in page.locator("#files-table").inner_text()
        page.locator("#judge-all").click()
