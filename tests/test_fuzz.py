"""A few hundred of the cases that `make fuzz` tries by the thousand; and its judge, which must notice what is wrong."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ser_core import audio
from ser_core.errors import SerError
from tests import sounds
from tests.fuzz import __main__ as command
from tests.fuzz import bombs, cases, judge
from tests.fuzz.campaign import MOST_MB, Campaign
from tests.fuzz.judge import Judge, Question, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory from Linux's /proc"),
]

PATIENT_S = 60.0
"""A machine that runs tests may be busy; `make fuzz` is stricter."""


@pytest.fixture(scope="module")
def asked() -> Iterator[Judge]:
    with Judge() as one:
        yield one


def test_some_hundred_cases_end_in_a_sound_or_a_clear_error(asked: Judge, tmp_path: Path) -> None:
    run = Campaign(asked, most_s=PATIENT_S, keep=tmp_path)
    run.draw(300, number=2026)
    assert run.tally.faults == []
    assert run.tally.tried == run.tally.answered + run.tally.refused.total() == 300
    assert run.tally.answered > 30
    assert {"NoAudio", "UnreadableAudio", "UnsupportedAudio"} <= set(run.tally.refused)


@pytest.mark.parametrize("name", ["opus-10-hours", "aac-10-hours", "mp3-covers-4-of-30-MB", "m4a-cover-100-MB"])
def test_bombs_stay_within_the_memory(asked: Judge, name: str) -> None:
    run = Campaign(asked, most_s=PATIENT_S)
    verdict = run.judge(cases.file_case(name, bombs.make(name)))
    assert run.tally.faults == []
    assert verdict.outcome == ("AudioTooLong" if "hours" in name else "answered")


@pytest.mark.parametrize("name", sorted(cases.THINGS))
def test_what_lies_under_a_name(asked: Judge, name: str) -> None:
    verdict = Campaign(asked).judge(cases.Case(name, cases.THINGS[name]))
    refused = "answered" if name == "link" else "NoAudio"
    assert verdict.outcome in {refused, "UnreadableAudio" if name == "not to be read" else refused}


# The judge is worth something.


class Deadly:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (3,)


def test_a_crash_is_lost_and_the_next_case_is_judged(asked: Judge) -> None:
    verdict = asked.ask(Question("from_array", (Deadly(), 16_000)))
    assert (verdict.outcome, verdict.message) == ("lost", "died: 3")
    assert asked.ask(Question("from_array", (sounds.tone(), 16_000))).outcome == "answered"


def test_a_hang_is_lost(asked: Judge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    question = Question("read", (str(tmp_path),))
    assert asked.ask(question).outcome == "NoAudio"
    assert asked._process is not None
    asked._process.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(judge, "HANG_S", 0.2)
    verdict = asked.ask(question)
    assert verdict.outcome == "lost"
    assert verdict.message.startswith("hung")


def test_another_exception_is_lost(asked: Judge) -> None:
    verdict = asked.ask(Question("from_array", ()))
    assert verdict.outcome == "lost"
    assert verdict.message.startswith("TypeError")


def test_memory_and_time_are_measured(asked: Judge, tmp_path: Path) -> None:
    small = asked.ask(Question("from_array", (sounds.tone(), 16_000)))
    large = asked.ask(Question("from_array", (np.zeros((16_000 * 500, 1)), 16_000)))
    assert small.peak_mb < 10.0
    assert large.peak_mb > 30.0
    run = Campaign(asked, keep=tmp_path)
    assert run.tally.add("slow", Verdict("answered", "", 6.0, 0.0), 5.0) == ["took 6.0 s"]
    assert run.tally.add("large", Verdict("NoAudio", "", 1.0, MOST_MB + 1), 5.0) == ["took 401 MB"]
    assert (run.tally.slowest, run.tally.largest) == ("slow", "large")


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("it is empty. Record or export it again.", ""),
        ("it is empty.", "doesn't say what to do"),
        ("it is empty. Record it", "doesn't say what to do"),
        ("it is \n empty. Record it.", "can't be printed"),
        ("/home/me/it is empty. Record it.", "names a folder"),
    ],
)
def test_what_a_message_must_say(message: str, fault: str) -> None:
    assert judge.fault_of(message, "/home/me") == fault


def test_the_command_writes_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "fuzz.json"
    monkeypatch.setattr(command, "KEEP", tmp_path / "kept")
    monkeypatch.setattr("tests.fuzz.campaign.MOST_S", PATIENT_S)
    monkeypatch.setattr(sys, "argv", ["fuzz", "--cases", "10", "--seed", "4", "--no-bombs", "--out", str(out)])
    assert command.main() == 0
    figures = json.loads(out.read_text(encoding="utf-8"))
    assert figures["tried"] == 10 == figures["answered"] + sum(figures["refused"].values())
    assert (figures["lost"], figures["faults"], figures["seed"]) == (0, [], 4)
    assert {"cpu", "cores", "versions", "slowest_s", "peak_mb", "command"} <= set(figures)


# What it found.


def test_infinities_of_both_signs_are_refused_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    with pytest.raises(SerError, match="not numbers"):
        audio.from_array(np.array([[np.inf, -np.inf]] * 9), 16_000)
    assert not recwarn.list
