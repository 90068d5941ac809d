"""What goes wrong around a page that runs: who vanishes, half-open connections, a full disk, an end in between."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests import bundles, sounds
from tests.browser import driving
from tests.browser.driving import SPOKEN, started
from tests.load import soak, watch
from tests.plain_http import API, PATIENCE_S, begin, connected, fetch, file, upload
from tests.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.browser.driving import Server

pytestmark = [
    pytest.mark.alone,
    bundles.needs_shipped,
    pytest.mark.usefixtures("no_model_named"),
    pytest.mark.skipif(sys.platform != "linux", reason="what a process holds is read from /proc"),
]
DELETE_AFTER_S = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """A page that deletes recordings after seconds."""
    with started(program=soak.program(DELETE_AFTER_S), environment={"GRADIO_TEMP_DIR": str(folder)}) as page:
        assert "state" in told(page.url)
        yield page


def begun(url: str) -> str:
    """Upload a recording and ask about it; the event whose answer can be fetched."""
    return begin(url, [file(upload(url, SPOKEN.name, SPOKEN.read_bytes()))])


def told(url: str) -> str:
    """What an honest visitor gets."""
    return fetch(url, begun(url))


def settle(server: Server, folder: Path, before: dict[str, Any]) -> None:
    """Wait until the page holds no more files than before, and hardly more that are open."""
    until(lambda: watch.held(server.pid, folder)["files"] <= before["files"])
    assert watch.held(server.pid, folder)["open_files"] <= before["open_files"] + 10


def test_who_vanishes_leaves_nothing_behind(server: Server, folder: Path) -> None:
    """While uploading, while waiting for an answer, and while it is being given."""
    time.sleep(DELETE_AFTER_S + 2.0)
    before = watch.held(server.pid, folder)
    form = (
        b"POST /gradio_api/upload HTTP/1.1\r\nHost: page\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        b"Content-Length: 1000000\r\n\r\n--b\r\nContent-Disposition: form-data; name=files; filename=a.wav\r\n\r\n"
    )
    for _ in range(20):
        with connected(server.url) as visitor:
            visitor.sendall(form + b"RIFF" * 5_000)
    events = [begun(server.url) for _ in range(5)]
    for event in events[:3]:
        with contextlib.suppress(httpx.TimeoutException):
            fetch(server.url, event, timeout_s=0.01)
    assert '"state"' in told(server.url)
    settle(server, folder, before)


def test_half_open_connections_keep_nobody_out(server: Server, folder: Path) -> None:
    before = watch.held(server.pid, folder)
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(connected(server.url)).sendall(b"GET /config HTTP/1.1\r\nHost: pa")
        until(lambda: watch.held(server.pid, folder)["open_files"] > before["open_files"] + 150)
        assert '"state"' in told(server.url)
    until(lambda: watch.held(server.pid, folder)["open_files"] <= before["open_files"] + 10)


def test_a_write_that_fails_costs_its_own_upload(tmp_path: Path) -> None:
    """Where no file may grow beyond half a megabyte, as on a disk that is full, larger uploads are refused, and what
    was written of them goes with the next sweep; smaller ones are answered.
    """
    option, code = soak.program(DELETE_AFTER_S)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))\n"
    folder = tmp_path / "page"
    large = sounds.encode(sounds.voice(8.0, 48_000), 48_000, "wav-16")
    assert len(SPOKEN.read_bytes()) < 500_000 < len(large)
    log = tmp_path / "log.txt"
    with started(program=(option, limit + code), environment={"GRADIO_TEMP_DIR": str(folder)}, log=log) as page:
        before = watch.held(page.pid, folder)
        for _ in range(3):
            refused = httpx.post(f"{page.url}{API}/upload", files={"files": ("a.wav", large)})
            assert refused.status_code == 507
            assert "could not write your file" in refused.json()["detail"]
        assert '"state"' in told(page.url)
        settle(page, folder, before)
    assert log.read_text(encoding="utf-8").count("An upload could not be written (File too large)") == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_end_in_the_middle_of_work_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Eight visitors wait for long recordings; each gets an answer or a refusal, and the page's files are gone."""
    recording = driving.long_recording(tmp_path).read_bytes()
    outcomes: list[str] = []

    def visit(url: str) -> None:
        try:
            event = begin(url, [file(upload(url, "a.wav", recording))])
            outcomes.append(fetch(url, event))
        except (httpx.HTTPError, ValueError, KeyError) as error:
            outcomes.append(f"refused: {error!r}")

    folder = tmp_path / "page"
    # `started` waits `END_S` for the end, or raises.
    with started(environment={"GRADIO_TEMP_DIR": str(folder)}, end=number) as page:
        assert '"state"' in told(page.url)
        visits = [threading.Thread(target=visit, args=(page.url,)) for _ in range(8)]
        for one in visits:
            one.start()
        time.sleep(0.5)
    for one in visits:
        one.join(PATIENCE_S)
    assert len(outcomes) == 8
    assert list(folder.iterdir()) == []


def test_a_start_after_a_kill_deletes_what_was_left(tmp_path: Path) -> None:
    environment = {"GRADIO_TEMP_DIR": str(tmp_path)}
    with started(environment=environment, end=signal.SIGKILL) as page:
        begun(page.url)
        (left,) = tmp_path.iterdir()
    assert any(path.suffix == ".wav" for path in left.rglob("*"))
    with started(environment=environment) as page:
        (new,) = tmp_path.iterdir()
        assert new != left
        assert '"state"' in told(page.url)
    assert list(tmp_path.iterdir()) == []
