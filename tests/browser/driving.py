"""A real server (`python app.py` in a process of its own) and a real browser (headless Chromium, a fake microphone)."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from playwright.sync_api import Browser, BrowserType, Page

ROOT = Path(__file__).resolve().parent.parent.parent
SPOKEN = ROOT / "assets" / "examples" / "synthetic-loud-and-lively.wav"
START_S, END_S = 90.0, 20.0


def chromium() -> str | None:
    """The browser's path; None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@dataclass(frozen=True)
class Server:
    """A page that is served.

    Attributes:
        url: its address.
        pid: of its process.
        start_s: seconds from the start of the process until it answered.
    """

    url: str
    pid: int
    start_s: float


@contextmanager
def serving(model: str | None = None, **how: Any) -> Iterator[str]:
    """As `started`; gives the page's address alone."""
    with started(model, **how) as server:
        yield server.url


@contextmanager
def started(
    model: str | None = None,
    *,
    program: Sequence[str] = ("app.py",),
    python: str | Path = sys.executable,
    environment: Mapping[str, str] | None = None,
    root: Path = ROOT,
    log: Path | None = None,
    end: signal.Signals = signal.SIGTERM,
) -> Iterator[Server]:
    """A page on a free loopback port, ours unless said otherwise; ends it afterwards.

    Args:
        model: for `--model`.
        program: what Python runs, with --port behind it.
        python: the interpreter.
        environment: variables on top of this process's own.
        root: the folder of the app.
        log: a file for what it prints.
        end: how it is told to end.

    Raises:
        RuntimeError: it ended or did not answer in time, or did not end in order when told to; the message holds what
            it printed.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(python), *program, "--port", str(port), *(["--model", model] if model else [])]
    variables = {**os.environ, "PYTHONFAULTHANDLER": "1", **(environment or {})}
    with tempfile.TemporaryFile("w+") if log is None else log.open("w+") as printed:
        began = time.monotonic()
        process = subprocess.Popen(command, cwd=root, env=variables, stdout=printed, stderr=subprocess.STDOUT)
        try:
            while not _answers(port):
                if process.poll() is not None or time.monotonic() > began + START_S:
                    printed.seek(0)
                    raise RuntimeError(f"{' '.join(command)} did not serve:\n{printed.read()}")
                time.sleep(0.02)
            yield Server(f"http://127.0.0.1:{port}/", process.pid, time.monotonic() - began)
        finally:
            process.send_signal(end)
            try:
                code = process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGABRT)  # faulthandler then prints what each thread is at
                code = process.wait(END_S)
        if code != (-end if end == signal.SIGKILL else 0):
            printed.seek(0)
            raise RuntimeError(f"{' '.join(command)} ended with {code}:\n{printed.read()}")


def _answers(port: int) -> bool:
    """Whether the page is there. Asks with next to no work, which would take the time from the page that starts."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/config")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def browsing() -> Iterator[Browser]:
    """Headless Chromium; its microphone hears `SPOKEN` over and over."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = launched(playwright.chromium)
        yield browser
        browser.close()


def launched(kind: BrowserType, *, microphone: bool = True) -> Browser:
    """A new browser, whose pages are given the microphone when they ask for it, or are refused."""
    flags = [
        "--no-sandbox",  # CI runs as root
        "--disable-background-networking",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream" if microphone else "--deny-permission-prompts",
        f"--use-file-for-fake-audio-capture={SPOKEN}",
    ]
    return kind.launch(executable_path=chromium(), args=flags)


def choose(page: Page, file: Path) -> None:
    """Upload `file` by the button that says so."""
    page.get_by_test_id("Upload a sound file-upload-button").set_input_files(file)


def long_recording(folder: Path) -> Path:
    """The synthetic voices one after the other, some eleven seconds, in a file of `folder`."""
    parts = [soundfile.read(path) for path in sorted(SPOKEN.parent.glob("*.wav"))]
    path = folder / "voices.wav"
    soundfile.write(path, np.concatenate([samples for samples, _ in parts]), parts[0][1])
    return path
