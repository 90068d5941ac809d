"""How far a command is: on a terminal, which a pseudo-terminal stands for here, and nowhere else."""

from __future__ import annotations

import contextlib
import os
import pty
import sys
import termios
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from ser_core import progress
from ser_core.progress import Progress
from ser_core.records import Record
from tests import fakes

if TYPE_CHECKING:
    from collections.abc import Callable

    Terminal = Callable[[Callable[[], object]], str]

GOOD = Record("a.wav", fakes.answer(), None)
BAD = Record("b.wav", None, "b.wav is empty. Record or export it again.")


def rendered(written: str) -> list[str]:
    """The lines that a terminal shows: after a carriage return the line is written over."""
    lines = []
    for line in written.replace("\r\n", "\n").split("\n"):
        shown = ""
        for text in line.split("\r"):
            shown = text + shown[len(text) :]
        lines.append(shown.rstrip())
    return lines


def seen(descriptor: int) -> str:
    """All that is written to a pseudo-terminal until nobody has it open any more."""
    written = b""
    with os.fdopen(descriptor, "rb", buffering=0) as reader, contextlib.suppress(OSError):
        while more := reader.read(4_096):
            written += more
    return written.decode()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Runs something with a terminal as standard error; gives what was written there."""
    monkeypatch.setattr(progress, "_WORTH_A_BAR_S", 0.0)

    def run(work: Callable[[], object]) -> str:
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, 80))
        with monkeypatch.context() as patch, os.fdopen(theirs, "w") as stderr, ThreadPoolExecutor(1) as pool:
            shown = pool.submit(seen, ours)
            patch.setattr(sys, "stderr", stderr)
            work()
            stderr.close()
            return shown.result(60)

    return run


def test_a_terminal_sees_a_bar(terminal: Terminal) -> None:
    def work() -> None:
        with Progress(10, done=7) as told:
            assert list(told.watch([GOOD, GOOD, GOOD])) == [GOOD] * 3

    written = terminal(work)
    assert "7/10" in written  # what was there before counts
    assert "10/10" in rendered(written)[0]
    assert "files/s" in written


def test_an_error_stands_whole_above_the_bar(terminal: Terminal) -> None:
    def work() -> None:
        with Progress(3) as told:
            for record in (GOOD, BAD, GOOD):
                told.count(record)
            told.remark("Stopped.")
            assert told.failed == 1

    lines = rendered(terminal(work))
    assert lines[0] == f"b.wav: {BAD.error}"
    assert lines[1] == "Stopped."
    assert "3/3" in lines[2]


def test_a_quick_run_shows_no_bar(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> None:
        monkeypatch.setattr(progress, "_WORTH_A_BAR_S", 60.0)
        with Progress(1) as told:
            told.count(GOOD)
        sys.stderr.write("end")

    assert terminal(work) == "end"


def test_who_wants_no_bar_gets_the_errors_alone(terminal: Terminal) -> None:
    def work() -> None:
        with Progress(2, bar=False, remarks=False) as told:
            told.remark("Going on.")
            told.count(GOOD)
            told.count(BAD)

    assert rendered(terminal(work)) == [f"b.wav: {BAD.error}", ""]


def test_a_file_or_a_pipe_gets_no_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_WORTH_A_BAR_S", 0.0)
    with Progress(2) as told:
        told.remark("Going on.")
        assert list(told.watch([GOOD, BAD])) == [GOOD, BAD]
    captured = capsys.readouterr()
    assert captured.err == f"Going on.\nb.wav: {BAD.error}\n"
    assert captured.out == ""


def test_a_name_can_not_steer_the_terminal(terminal: Terminal) -> None:
    def work() -> None:
        with Progress(1) as told:
            told.count(Record("\x1b[31m.wav", None, "\x1b]0;title\x07"))
            told.remark("\x1b[2Jgone")

    lines = rendered(terminal(work))
    assert lines[:2] == [r"\x1b[31m.wav: \x1b]0;title\x07", r"\x1b[2Jgone"]
