"""What goes wrong around a page that runs: who vanishes, half-open connections, a full disk, an end in between."""

from __future__ import annotations

import contextlib
import signal
import socket
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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.browser.driving import Server

pytestmark = [
    pytest.mark.alone,
    bundles.needs_shipped,
    pytest.mark.usefixtures("no_model_named"),
    pytest.mark.skipif(sys.platform != "linux", reason="what a process holds is read from /proc"),
]
DELETE_AFTER_S = 3
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """A page that deletes recordings after seconds."""
    with started(program=soak.program(DELETE_AFTER_S), environment={"GRADIO_TEMP_DIR": str(folder)}) as page:
        assert "state" in told(page.url)
        yield page


def api(url: str) -> str:
    return f"{url}gradio_api"


def begin(url: str) -> str:
    """Upload a recording and ask about it; the event whose answer can be fetched."""
    path = httpx.post(f"{api(url)}/upload", files={"files": (SPOKEN.name, SPOKEN.read_bytes())}).json()[0]
    data = [{"path": path, "meta": {"_type": "gradio.FileData"}}]
    event: str = httpx.post(f"{api(url)}/call/predict", json={"data": data}).json()["event_id"]
    return event


def told(url: str) -> str:
    """What an honest visitor gets."""
    return httpx.get(f"{api(url)}/call/predict/{begin(url)}", timeout=PATIENCE_S).text


def settles(server: Server, folder: Path, before: dict[str, Any]) -> dict[str, Any]:
    """What the page holds once it holds no more files than before, or when patience is at its end."""
    deadline = time.monotonic() + PATIENCE_S
    while (now := watch.held(server.pid, folder))["files"] > before["files"] and time.monotonic() < deadline:
        time.sleep(0.5)
    return now


def await_open_files(server: Server, folder: Path, enough: Callable[[int], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not enough(count := watch.held(server.pid, folder)["open_files"]):
        assert time.monotonic() < deadline, f"{count} open files"
        time.sleep(0.2)


def connected(server: Server) -> socket.socket:
    host, port = server.url.removeprefix("http://").strip("/").split(":")
    return socket.create_connection((host, int(port)))


def test_who_vanishes_leaves_nothing_behind(server: Server, folder: Path) -> None:
    """While uploading, while waiting for an answer, and while it is being given."""
    time.sleep(DELETE_AFTER_S + 2.0)
    before = watch.held(server.pid, folder)
    form = (
        b"POST /gradio_api/upload HTTP/1.1\r\nHost: page\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        b"Content-Length: 1000000\r\n\r\n--b\r\nContent-Disposition: form-data; name=files; filename=a.wav\r\n\r\n"
    )
    for _ in range(20):
        with connected(server) as visitor:
            visitor.sendall(form + b"RIFF" * 5_000)
    events = [begin(server.url) for _ in range(5)]
    for event in events[:3]:
        with contextlib.suppress(httpx.TimeoutException):
            httpx.get(f"{api(server.url)}/call/predict/{event}", timeout=0.01)
    assert '"state"' in told(server.url)
    after = settles(server, folder, before)
    assert after["files"] <= before["files"]
    assert after["open_files"] <= before["open_files"] + 10


def test_half_open_connections_keep_nobody_out(server: Server, folder: Path) -> None:
    before = watch.held(server.pid, folder)
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(connected(server)).sendall(b"GET /config HTTP/1.1\r\nHost: pa")
        await_open_files(server, folder, lambda count: count > before["open_files"] + 150)
        assert '"state"' in told(server.url)
    await_open_files(server, folder, lambda count: count <= before["open_files"] + 10)


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
            refused = httpx.post(f"{api(page.url)}/upload", files={"files": ("a.wav", large)})
            assert refused.status_code == 507
            assert "could not write your file" in refused.json()["detail"]
        assert '"state"' in told(page.url)
        after = settles(page, folder, before)
        assert after["files"] <= before["files"]
        assert after["open_files"] <= before["open_files"] + 10
    assert log.read_text(encoding="utf-8").count("An upload could not be written (File too large)") == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_end_in_the_middle_of_work_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Eight visitors wait for long recordings; each gets an answer or a refusal, and the page's files are gone."""
    recording = driving.long_recording(tmp_path).read_bytes()
    outcomes: list[str] = []

    def visit(url: str) -> None:
        try:
            path = httpx.post(f"{api(url)}/upload", files={"files": ("a.wav", recording)}).json()[0]
            data = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}]}
            event = httpx.post(f"{api(url)}/call/predict", json=data).json()["event_id"]
            outcomes.append(httpx.get(f"{api(url)}/call/predict/{event}", timeout=PATIENCE_S).text)
        except (httpx.HTTPError, ValueError, KeyError) as error:
            outcomes.append(f"refused: {error!r}")

    folder = tmp_path / "page"
    # `started` waits 20 s for the end, or raises.
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
        begin(page.url)
        (left,) = tmp_path.iterdir()
    assert any(path.suffix == ".wav" for path in left.rglob("*"))
    with started(environment=environment) as page:
        (new,) = tmp_path.iterdir()
        assert new != left
        assert '"state"' in told(page.url)
    assert list(tmp_path.iterdir()) == []
