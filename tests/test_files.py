"""Many files found, and judged several at once; through the command line see test_main."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from ser_core import files
from ser_core.audio import SUFFIXES
from ser_core.records import Record
from tests import bundles, sounds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def counted(taken: list[int], count: int = 1_000) -> Iterator[int]:
    """The numbers up to `count`, each of which is noted when it is taken."""
    for number in range(count):
        taken.append(number)
        yield number


# Finding.


def test_each_source_is_a_file_a_folder_or_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    for name in ("b.wav", "a.MP3", ".hidden.wav", "notes.txt"):
        (tmp_path / "full" / name).touch()
    named, empty, full = (str(tmp_path / name) for name in ("none.wav", "empty", "full"))
    first, error, *others = files.find_all([named, empty, full])
    assert first == named
    assert isinstance(error, Record)
    assert (error.source, error.prediction) == (empty, None)
    assert str(error.error).startswith(f"There is no sound file in {empty}.")
    assert others == [os.path.join(full, "a.MP3"), os.path.join(full, "b.wav")]  # noqa: PTH118


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_ending_is_looked_for(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"voice{suffix}").touch()
    assert files.find_all([str(tmp_path)]) == [str(tmp_path / f"voice{suffix}")]


def test_what_may_not_be_looked_at_is_left_to_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def stat(path: Any, **options: Any) -> Any:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "stat", stat)
    assert files.find_all(["/secret/voice.wav", "a\0b.wav"]) == ["/secret/voice.wav", "a\0b.wav"]


# Several at once.


@pytest.mark.parametrize("jobs", [1, 3])
def test_results_come_in_order_whatever_takes_longest(jobs: int) -> None:
    def work(number: int) -> int:
        time.sleep(0.02 if number % 5 == 0 else 0.0)
        return number**2

    assert list(files.in_order(work, range(50), jobs)) == [number**2 for number in range(50)]


def test_as_many_are_at_work_as_there_are_jobs_and_no_more() -> None:
    together = threading.Barrier(3, timeout=60)
    lock, now, most = threading.Lock(), 0, 0

    def work(number: int) -> int:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        together.wait()  # passes only where three are here
        with lock:
            now -= 1
        return number

    assert list(files.in_order(work, range(12), 3)) == list(range(12))
    assert most == 3


def test_only_a_few_are_taken_ahead_of_the_results() -> None:
    taken: list[int] = []
    results = files.in_order(lambda number: number, counted(taken), 2)
    for expected in range(3):
        assert next(results) == expected
        assert len(taken) <= expected + files._AHEAD * 2
    results.close()


def test_closing_gives_up_what_was_not_begun_and_does_not_wait_for_the_rest() -> None:
    begun, go_on = [], threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        if number > 0:
            assert go_on.wait(60)
        return number

    results = files.in_order(work, range(1_000), 1)
    assert next(results) == 0
    results.close()  # would wait for number 1 forever
    go_on.set()
    time.sleep(0.2)
    assert begun in ([0], [0, 1])


def test_what_work_raises_comes_in_its_place() -> None:
    def work(number: int) -> int:
        if number == 2:
            raise ZeroDivisionError("unforeseen")
        return number

    results = files.in_order(work, range(10), 4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError, match="unforeseen"):
        next(results)
    assert list(results) == []


def test_nothing_gives_nothing() -> None:
    assert list(files.in_order(str, [], 4)) == []


def test_many_at_once_are_judged_as_one_by_one(tmp_path: Path) -> None:
    for number in range(24):
        sounds.write(tmp_path, sounds.voice(1.0 + number % 3, seed=number), 16_000, stem=f"{number:02d}")
    (tmp_path / "07-junk.mp3").write_bytes(b"This is no sound.\n" * 99)
    recognizer = bundles.recognizer()
    found = [*files.find_all([str(tmp_path)]), Record("nowhere", None, "Nobody knows it.")]
    alone = [files.judge_one(recognizer, file) for file in found]
    together = list(files.judge_all(found, recognizer, 4))
    assert [(record.source, record.error) for record in together] == [(record.source, record.error) for record in alone]
    for one, other in zip(alone, together, strict=True):
        assert (one.prediction is None) == (other.prediction is None)
        if one.prediction is not None and other.prediction is not None:
            assert other.prediction.probabilities == pytest.approx(one.prediction.probabilities, abs=1e-6)
            assert (one.prediction.state, one.prediction.label) == (other.prediction.state, other.prediction.label)


@bundles.needs_shipped
def test_the_model_that_ships_answers_many_at_once_as_one_by_one(shipped: Any, tmp_path: Path) -> None:
    for number in range(12):
        sounds.write(tmp_path, sounds.voice(2.0 + number % 4, seed=number), 16_000, stem=f"{number:02d}")
    found = files.find_all([str(tmp_path)])
    for file, record in zip(found, files.judge_all(found, shipped, 4), strict=True):
        assert record.prediction is not None
        assert record.prediction.probabilities == pytest.approx(shipped.predict(file).probabilities, abs=1e-6)


def test_there_is_a_core_at_least() -> None:
    assert 1 <= files.cores() <= (os.cpu_count() or 1)
