"""The crowd and the soak: what counts as wrong, what is told, and a small form of each against the real page."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from gradio_client.utils import QueueError

from tests import bundles
from tests.load import passerby, table, visitors
from tests.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path

HAPPY, SAD = {"happy": 0.9, "sad": 0.1}, {"happy": 0.1, "sad": 0.9}

pytestmark = pytest.mark.alone


@pytest.mark.parametrize(
    ("found", "expected", "wrong"),
    [
        (HAPPY, HAPPY, ""),
        ({"happy": 0.9004, "sad": 0.0996}, HAPPY, ""),
        (SAD, HAPPY, "off by 0.8000"),
        ({}, HAPPY, "nothing instead of happy, sad"),
        ({}, {}, ""),
        ("It is empty.", "It is empty.", ""),
        ("It is empty.", "It is no sound.", "It is empty. instead of It is no sound."),
        (HAPPY, "It is empty.", f"{HAPPY} instead of It is empty."),
    ],
)
def test_an_answer_is_held_to_what_one_alone_is_told(found: Any, expected: Any, wrong: str) -> None:
    assert visitors.compare(found, expected) == wrong
    told = visitors.request(lambda: found, expected)
    assert told.outcome == ("wrong" if wrong else "refused" if isinstance(found, str) else "answered")


def test_who_is_told_to_try_again_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "AGAIN_S", 0.0)
    answers: list[Any] = [QueueError("full"), QueueError("full"), HAPPY]

    def asking() -> visitors.Answer:
        answer: visitors.Answer | Exception = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    told = visitors.insist(asking, HAPPY, 60.0)
    assert [one.outcome for one in told] == ["busy", "busy", "answered"]
    answers = [QueueError("full"), HAPPY]
    assert [one.outcome for one in visitors.insist(asking, HAPPY, 0.0)] == ["busy"]


def test_whatever_else_happens_is_told() -> None:
    def asking() -> visitors.Answer:
        raise ConnectionError("gone")

    told = [
        visitors.request(asking, HAPPY),
        visitors.request(lambda: SAD, HAPPY),
        visitors.request(lambda: HAPPY, HAPPY),
    ]
    counts = visitors.counted(told)
    assert (counts["answered"], counts["wrong"], counts["failed"], counts["busy"], counts["refused"]) == (1, 1, 1, 0, 0)
    assert counts["faults"] == ["ConnectionError: gone", "off by 0.8000"]


def test_no_recording_sounds_like_another(tmp_path: Path) -> None:
    files = visitors.recordings(tmp_path, (0.5, 0.6))
    assert len(files) == 2 * len(visitors.FORMATS) + len(visitors.BROKEN)
    assert len({path.read_bytes() for path in files}) == len({path.name for path in files}) == len(files)


def test_who_passes_by_tells_how_soon_the_page_said_that_it_is_busy() -> None:
    told = passerby.told([(200, 9.0), (passerby.BUSY, 0.1), (passerby.BUSY, 0.3)])
    assert told == {"asked": 3, "busy": 2, "median_s": 0.2, "slowest_s": 0.3}
    assert passerby.told([(200, 9.0)]) == {"asked": 1, "busy": 0, "median_s": None, "slowest_s": None}


CROWD = {
    "visitors": 64,
    "requests": 1280,
    "answered": 1200,
    "refused": 80,
    "busy": 3,
    "wrong": 0,
    "failed": 0,
    "told_busy_within_s": 0.5,
    "told_busy_median_s": 0.1,
    "answers_per_s": 20.0,
    "median_s": 2.0,
    "p95_s": 3.0,
    "slowest_s": 4.0,
    "at_once": 2,
    "waiting": 32,
    "gave_up": 0,
    "passerby": {"asked": 5, "busy": 2, "median_s": 0.05, "slowest_s": 0.25},
}


def test_the_table_says_what_came_of_a_crowd() -> None:
    text = table.crowd(CROWD)
    assert "| visitors, and requests of each | 64, 20 |" in text
    assert "| told to try again, and did | 3, told within 0.50 s (median 0.10) |" in text
    assert "| told so who passed by with one small request | 2 of 5, within 0.25 s (median 0.05) |" in text
    assert "| told to try again, and did | 0 |" in table.crowd(CROWD | {"busy": 0, "told_busy_within_s": None})


def test_the_table_says_what_a_soak_left() -> None:
    steps = [
        {"resident_mb": mb, "open_files": 20, "threads": 30, "files": n} for mb, n in ((500, 8), (510, 90), (511, 92))
    ]
    found = {
        "requests": 2000,
        "answered": 1900,
        "refused": 100,
        "wrong": 0,
        "failed": 0,
        "steps": steps,
        "growth_of_second_half": 0.002,
        "deleted_after_s": 30,
        "rest_s": 35.0,
        "begun": steps[0],
        "at_rest": steps[0],
    }
    text = table.soak(found)
    assert "Memory grew by 0.2 % over the second half" in text
    assert "| half-way | 510 MB | 20 | 30 | 90 |" in text
    assert "| 35 s later | 500 MB | 20 | 30 | 8 |" in text


def test_the_page_of_reliability_says_what_the_stored_figures_say() -> None:
    if not table.OUT.is_file():
        assert not any(path.is_file() for path, _ in table.PARTS.values()), "run `python -m tests.load.table`"
        pytest.skip("nothing has been measured yet")
    assert table.OUT.read_text(encoding="utf-8") == table.page(), "run `python -m tests.load.table`"


@bundles.needs_shipped
@pytest.mark.skipif(sys.platform != "linux", reason="what a process holds is read from /proc")
@pytest.mark.parametrize("name", ["crowd", "soak"])
def test_a_small_form_against_the_real_page(name: str, tmp_path: Path) -> None:
    out = tmp_path / f"{name}.json"
    command = [sys.executable, "-m", f"tests.load.{name}", "--short", "--out", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300, capture_output=True)
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["short"]
    assert found["answered"] + found["refused"] == found["requests"]
    assert min(found["refused"], found["answered"]) > 0
    assert (found["wrong"], found["failed"], found["faults"]) == (0, 0, [])
    held = found["held"] if name == "crowd" else found["at_rest"]
    assert held["open_files"] < 200
    if name == "crowd":
        assert found["passerby"]["asked"] > 0
    if name == "soak":
        # Nothing of what was sent stays: the page's own examples and its lock do.
        assert found["at_rest"]["files"] <= found["begun"]["files"]


@pytest.mark.parametrize("name", ["crowd", "soak"])
def test_nothing_was_lost_in_what_is_stored(name: str) -> None:
    path = ROOT / "tests" / "load" / f"{name}.json"
    if not path.is_file():
        pytest.skip("not measured yet")
    found = json.loads(path.read_text(encoding="utf-8"))
    assert not found["short"]
    assert found["answered"] + found["refused"] == found["requests"] >= (2_000 if name == "soak" else 64 * 20)
    assert (found["wrong"], found["failed"]) == (0, 0)
    if name == "soak":
        assert found["growth_of_second_half"] < 0.02
        assert found["at_rest"]["files"] <= found["begun"]["files"]


def test_a_voice_that_is_refused_spoils_the_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = visitors.few(tmp_path)
    answers: dict[str, Any] = {
        path.name: {"happy": number / 100, "sad": 1 - number / 100} for number, path in enumerate(files)
    }
    broken = [path.name for path in files[-len(visitors.BROKEN) :]]
    answers |= dict.fromkeys(broken, "It is no sound.")
    monkeypatch.setattr(visitors, "ask", lambda _, path: answers[path.name])
    client: Any = None
    assert visitors.alone(client, files)[files[0]] == answers[files[0].name]
    answers[files[1].name] = answers[files[0].name]
    with pytest.raises(RuntimeError, match="two recordings are told alike"):
        visitors.alone(client, files)
    answers[files[1].name] = "It could not be read."
    with pytest.raises(RuntimeError, match=rf"unforeseen of {files[1].name}"):
        visitors.alone(client, files)
