"""The bench's part that needs a browser, in its short form; no time is held to anything here."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.browser.driving import ROOT
from train import report

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.bench, pytest.mark.alone]


def test_the_wait_on_the_page_is_measured_beside_the_bare_page(browser: Browser, tmp_path: Path) -> None:
    out = tmp_path / "page.json"
    # A process of its own, since Playwright can't be started twice in one.
    command = [sys.executable, "-m", "tests.bench.page", "--short", "--out", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=200)
    measured = json.loads(out.read_text(encoding="utf-8"))
    assert measured["rounds"] == 1
    assert "From Stop to the whole answer" in report.waiting(measured)
