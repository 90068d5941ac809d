"""The page in front of a model server that is killed under load, and comes back."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

import ser_core
from ser_core import bundle
from ser_core.errors import ModelUnavailable
from tests import bundles, fakes
from tests.browser.driving import ROOT, choose, started
from tests.processes import until
from tests.tiers import served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, bundles.needs_shipped]

CLIPS = sorted((ROOT / "assets" / "examples").glob("*.wav"))[:3]
CLOSE = 1e-4
# An open page looks each ten seconds; here it is in more of a hurry.
PAGE = ("-c", "import app; from page import tier; tier.EVERY_S = 1.0; app.run()")


@contextmanager
def model_server(folder: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """A model server in a process of its own, once it serves; it is killed afterwards."""
    command = [sys.executable, "-m", "tests.kserve", "--models", str(folder), "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        assert f"gRPC {port}" in process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait(20)


class Crowd:
    """Visitors who ask without end, each about a clip of their own.

    Attributes:
        told: what they were told, in order: probabilities, or a message.
    """

    def __init__(self, url: str, clips: list[Path]) -> None:
        self.told: list[tuple[Path, dict[str, float] | str]] = []
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(url, clip)) for clip in clips]

    def __enter__(self) -> Crowd:
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for one in self._threads:
            one.join(60)

    def _ask(self, url: str, clip: Path) -> None:
        client = Client(url, verbose=False, download_files=False)
        while not self._done.is_set():
            try:
                answer: Any = client.predict(handle_file(clip), api_name="/predict")[2]["probabilities"]
            except AppError as error:
                answer = str(error)
                self._done.wait(0.2)
            self.told.append((clip, answer))

    def answers(self) -> int:
        """How many were answered."""
        return sum(not isinstance(answer, str) for _, answer in self.told)

    def refusals(self) -> set[str]:
        """What was said instead."""
        return {answer for _, answer in self.told if isinstance(answer, str)}


def test_a_model_server_is_killed_under_load_and_comes_back(browser: Browser, tmp_path: Path) -> None:
    opened = bundle.read(bundles.SHIPPED)
    folder, port = served(tmp_path / "models", opened), fakes.free_port()
    alone = ser_core.load()
    expected = {clip: alone.predict(clip).probabilities for clip in CLIPS}
    variables = {"SER_BACKEND": f"grpc://127.0.0.1:{port}/{opened.name}", "SER_BACKEND_FALLBACK": ""}
    with model_server(folder, port) as first, started(program=PAGE, environment=variables) as page:
        visitor = browser.new_page(viewport={"width": 1280, "height": 900})
        visitor.goto(page.url)
        banner, answer = visitor.locator("#tier"), visitor.locator("#answer")
        choose(visitor, CLIPS[0])
        answer.get_by_text("Sounds").or_(answer.get_by_text("Not sure: perhaps")).wait_for(timeout=30_000)
        assert banner.inner_text().strip() == ""
        with Crowd(page.url, CLIPS) as crowd:
            until(lambda: crowd.answers() >= 2 * len(CLIPS))
            first.kill()
            banner.get_by_text("Nothing can be judged just now").wait_for(timeout=30_000)
            assert banner.get_by_role("status").count() == 1
            visitor.locator("#judge").click()
            answer.get_by_text("Not just now.").wait_for(timeout=30_000)
            until(crowd.refusals)
            with model_server(folder, port):
                banner.get_by_text("Nothing can be judged just now").wait_for(state="detached", timeout=30_000)
                before = crowd.answers()
                until(lambda: crowd.answers() >= before + 2 * len(CLIPS))
                visitor.locator("#judge").click()
                answer.get_by_text("Not just now.").wait_for(state="detached", timeout=30_000)
                answer.get_by_text("Sounds").or_(answer.get_by_text("Not sure: perhaps")).wait_for(timeout=30_000)
        visitor.close()
    assert crowd.refusals() == {str(ModelUnavailable())}
    for clip, told in crowd.told:
        if not isinstance(told, str):
            assert told == pytest.approx(expected[clip], abs=CLOSE)
