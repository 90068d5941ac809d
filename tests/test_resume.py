"""`python -m ser_core --format jsonl --out FILE`: stopped in any way, it goes on where it was, and nothing is lost."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ser_core import __main__ as command
from ser_core import progress
from ser_core.errors import BundleError
from ser_core.prediction import ModelInfo
from tests import bundles, processes, sounds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ser_core.recognizer import Recognizer

Capture = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("no_model_named")
start = functools.partial(processes.start, stdout=subprocess.DEVNULL)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A folder of eight voices, 0.wav to 7.wav."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(8):
        sounds.write(folder, sounds.voice(1.0, seed=number), 16_000, stem=str(number))
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The file for the answers, which holds something already."""
    path = tmp_path / "answers.jsonl"
    path.write_text("before", encoding="utf-8")
    return path


class Watched:
    """Judges without a network, remembers which files, and stops at one of them.

    Args:
        stop_at: the file's name; "" for none.
        stopped_by: what it raises there.
        info: which model it is.
    """

    def __init__(
        self,
        stop_at: str = "",
        stopped_by: type[BaseException] = KeyboardInterrupt,
        info: ModelInfo = bundles.INFO,
    ) -> None:
        self._inner = bundles.recognizer()
        self._inner.info = self.info = info
        self._stop_at, self._stopped_by = stop_at, stopped_by
        self.judged: list[str] = []

    def predict(self, path: str) -> Any:
        name = Path(path).name
        if name == self._stop_at:
            raise self._stopped_by
        self.judged.append(name)
        return self._inner.predict(path)


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, clips: Path, out: Path) -> Callable[..., Any]:
    """Runs the command in this process, one file after the other, with a recogniser; gives the exit code."""

    def run(recognizer: Any, *options: str, sources: Sequence[Path] = (clips,)) -> int:
        monkeypatch.setattr(command, "load", lambda model, precision: recognizer)
        arguments = [*map(str, sources), "--format", "jsonl", "--out", str(out), "--jobs", "1", *options]
        try:
            return command.main(arguments)
        except SystemExit as end:
            return int(end.code or 0)

    return run


def kept(out: Path) -> Path:
    return out.with_name("answers.jsonl.part")


def answers(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def without_time(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in record.items() if name != "timings"} for record in records]


def judged_at_once(ask: Callable[..., Any], out: Path) -> list[dict[str, Any]]:
    """What an undisturbed run writes, timings aside."""
    assert ask(Watched(), "--fresh") in (0, 1)
    return without_time(answers(out))


def names(first: int, end: int = 8) -> list[str]:
    return [f"{number}.wav" for number in range(first, end)]


# Going on.


@pytest.mark.parametrize("stopped_by", [KeyboardInterrupt, ZeroDivisionError])
def test_a_stopped_run_goes_on_where_it_was(
    ask: Callable[..., Any], out: Path, capsys: Capture, stopped_by: type[BaseException]
) -> None:
    expected = judged_at_once(ask, out)
    out.write_text("before", encoding="utf-8")
    if stopped_by is KeyboardInterrupt:
        assert ask(Watched("5.wav")) == 130
        assert capsys.readouterr().err == f"Stopped. {kept(out)} holds 5 answers for the same command to go on.\n"
    else:
        with pytest.raises(stopped_by):
            ask(Watched("5.wav", stopped_by))
    assert out.read_text(encoding="utf-8") == "before"
    second = Watched()
    assert ask(second) == 0
    assert second.judged == names(5)
    assert capsys.readouterr().err == f"{kept(out)} holds the answers for 5 of 8 files; going on from there.\n"
    assert without_time(answers(out)) == expected
    assert not kept(out).exists()


def test_stopped_again_and_again_it_loses_nothing(ask: Callable[..., Any], out: Path, capsys: Capture) -> None:
    expected = judged_at_once(ask, out)
    for count in range(1, 8):
        assert ask(Watched(f"{count}.wav")) == 130
        assert f"holds {count} answers" in capsys.readouterr().err
    last = Watched()
    assert ask(last) == 0
    assert last.judged == ["7.wav"]
    assert without_time(answers(out)) == expected


def test_a_run_that_ended_leaves_nothing_to_go_on_from(ask: Callable[..., Any], out: Path, capsys: Capture) -> None:
    assert ask(Watched()) == 0
    again = Watched()
    assert ask(again) == 0
    assert again.judged == names(0)
    assert capsys.readouterr().err == ""


def test_fresh_judges_all_anew(ask: Callable[..., Any], out: Path, capsys: Capture) -> None:
    assert ask(Watched("5.wav")) == 130
    second = Watched()
    assert ask(second, "--fresh") == 0
    assert second.judged == names(0)
    assert "going on" not in capsys.readouterr().err


def test_quiet_goes_on_without_a_word(ask: Callable[..., Any], clips: Path, capsys: Capture) -> None:
    (clips / "2.wav").write_bytes(b"")
    assert ask(Watched("5.wav"), "--quiet") == 130
    assert ask(Watched(), "--quiet") == 1
    failed = f"{clips / '2.wav'}: 2.wav is empty. Record or export it again.\n"
    assert capsys.readouterr().err == failed * 2


def test_more_or_other_files_than_before_take_over_what_they_share(
    ask: Callable[..., Any], clips: Path, out: Path
) -> None:
    assert ask(Watched("5.wav")) == 130
    sounds.write(clips, sounds.voice(1.0), 16_000, stem="00")
    (clips / "3.wav").unlink()
    second = Watched()
    assert ask(second) == 0
    assert second.judged == ["00.wav", *names(5)]
    assert [Path(answer["source"]).name for answer in answers(out)] == ["0.wav", "00.wav", *names(1, 3), *names(4)]


# What is judged again.


def test_a_file_that_changed_is_judged_again(ask: Callable[..., Any], clips: Path, out: Path) -> None:
    assert ask(Watched("5.wav")) == 130
    sounds.write(clips, sounds.voice(2.0, seed=99), 16_000, stem="1")
    os.utime(clips / "3.wav", ns=(0, 0))
    second = Watched()
    assert ask(second) == 0
    assert second.judged == ["1.wav", "3.wav", *names(5)]
    assert [answer["duration_s"] for answer in answers(out)] == [1.0, 2.0, *[1.0] * 6]
    assert without_time(answers(out)) == judged_at_once(ask, out)


def test_a_file_that_failed_is_judged_again(ask: Callable[..., Any], clips: Path, out: Path, capsys: Capture) -> None:
    whole = (clips / "1.wav").read_bytes()
    for name in ("1.wav", "3.wav"):
        (clips / name).write_bytes(b"")
    assert ask(Watched("5.wav")) == 130
    (clips / "1.wav").write_bytes(whole)
    second = Watched()
    capsys.readouterr()
    assert ask(second) == 1
    assert second.judged == ["1.wav", "3.wav", *names(5)]
    assert f"{clips / '3.wav'}: 3.wav is empty." in capsys.readouterr().err
    assert [sorted(set(answer) & {"error", "label"}) for answer in answers(out)] == [
        ["error"] if name == "3.wav" else ["label"] for name in names(0)
    ]


def test_a_folder_without_sound_fails_each_time_and_stands_in_its_place(
    ask: Callable[..., Any], clips: Path, out: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    sources = (empty, clips, empty)
    assert ask(Watched("5.wav"), sources=sources) == 130
    assert ask(Watched(), sources=sources) == 1
    told = [answer["source"] for answer in answers(out)]
    assert told == [str(empty), *(str(clips / name) for name in names(0)), str(empty)]


# What is refused.


def test_another_model_does_not_go_on(ask: Callable[..., Any], out: Path, capsys: Capture) -> None:
    assert ask(Watched("5.wav")) == 130
    capsys.readouterr()
    other = Watched(info=ModelInfo("other", "2", "tests", None, "int8"))
    assert ask(other) == 2
    error = capsys.readouterr().err
    assert "holds the answers that a stopped run has for 5 files, by another model (small 1.2.3 fp32)" in error
    assert "(other 2 int8)" in error
    assert other.judged == []
    assert out.read_text(encoding="utf-8") == "before"
    assert ask(Watched()) == 0
    assert ask(other, "--fresh") == 0
    assert {answer["model"]["name"] for answer in answers(out)} == {"other"}


def test_what_somebody_else_put_there_is_kept(ask: Callable[..., Any], out: Path, capsys: Capture) -> None:
    kept(out).write_text("mine", encoding="utf-8")
    for options in ([], ["--fresh"]):
        assert ask(Watched(), *options) == 2
        assert "answers.jsonl.part is in the way" in capsys.readouterr().err
    assert (kept(out).read_text(encoding="utf-8"), out.read_text(encoding="utf-8")) == ("mine", "before")


def test_a_model_that_can_not_be_loaded_leaves_all_as_it_was(
    ask: Callable[..., Any], out: Path, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(model: str | None, precision: str | None) -> Recognizer:
        raise BundleError("gone")

    arguments = [str(clips), "--format", "jsonl", "--out", str(out)]
    for judged in (0, 5):
        assert ask(Watched(f"{judged}.wav")) == 130
        monkeypatch.setattr(command, "load", load)
        with pytest.raises(SystemExit):
            command.main(arguments)
        assert kept(out).exists() == (judged > 0)
        assert out.read_text(encoding="utf-8") == "before"
    again = Watched()
    assert ask(again) == 0
    assert again.judged == names(5)


def test_a_full_disk_keeps_what_is_there(
    ask: Callable[..., Any], out: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*places: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copymode", full)
        assert ask(Watched()) == 2
    assert "can't be written (No space left on device)" in capsys.readouterr().err
    assert out.read_text(encoding="utf-8") == "before"
    again = Watched()
    assert ask(again) == 0
    assert again.judged == []
    assert len(answers(out)) == 8


# The real command.


@pytest.fixture
def many(tmp_path: Path, clips: Path) -> Path:
    """A folder of 200 names for the eight voices: enough for a second or so."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(200):
        os.link(clips / f"{number % 8}.wav", folder / f"{number:03d}.wav")
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return bundles.make(tmp_path / "model").folder


def wait_for(out: Path, lines: int, process: subprocess.Popen[str]) -> None:
    """Wait until that many lines are kept."""
    for _ in range(60_000):
        if kept(out).exists() and kept(out).read_bytes().count(b"\n") >= lines:
            return
        assert process.poll() is None, "it ended before it could be stopped"
        time.sleep(0.001)
    pytest.fail("nothing was kept")


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_however_it_is_stopped_it_ends_with_the_same_file(
    many: Path, model: Path, out: Path, tmp_path: Path, stop: signal.Signals
) -> None:
    common: list[str | Path] = [many, "--model", model, "--format", "jsonl", "--jobs", "3"]
    process = start(*common, "--out", out)
    wait_for(out, 20, process)
    process.send_signal(stop)
    _, error = process.communicate(timeout=60)
    assert process.returncode == (130 if stop is signal.SIGINT else -stop)
    assert ("Stopped." in error) == (stop is signal.SIGINT)
    assert out.read_text(encoding="utf-8") == "before"
    before = {
        line["answer"]["source"]: line["answer"]["timings"]
        for line in map(json.loads, kept(out).read_bytes().split(b"\n")[1:-1])
    }
    assert 19 <= len(before) < 200
    second = start(*common, "--out", out)
    _, error = second.communicate(timeout=120)
    assert second.returncode == 0
    assert error == f"{kept(out)} holds the answers for {len(before)} of 200 files; going on from there.\n"
    # Taken over, not judged again: not even the times differ.
    assert {answer["source"]: answer["timings"] for answer in answers(out) if answer["source"] in before} == before
    assert not kept(out).exists()
    undisturbed = tmp_path / "undisturbed.jsonl"
    assert command.main([*map(str, common), "--out", str(undisturbed)]) == 0
    assert without_time(answers(out)) == without_time(answers(undisturbed))


def test_two_at_once_do_not_mix(many: Path, model: Path, out: Path) -> None:
    first = start(many, "--model", model, "--format", "jsonl", "--out", out)
    wait_for(out, 2, first)
    first.send_signal(signal.SIGSTOP)  # however quick it is, it is not done yet
    try:
        second = start(many, "--model", model, "--format", "jsonl", "--out", out)
        _, error = second.communicate(timeout=120)
    finally:
        first.send_signal(signal.SIGCONT)
    assert second.returncode == 2
    assert error == (
        f"python -m ser_core: error: Another run is writing {out}. Wait until it ends, or name another --out.\n"
    )
    _, error = first.communicate(timeout=120)
    assert (first.returncode, error) == (0, "")
    assert len(answers(out)) == 200


# Progress.


@pytest.mark.parametrize("terminal", ["err", "err-and-out", "none"])
@pytest.mark.parametrize("options", [[], ["--quiet"], ["--out"]])
def test_there_is_a_bar_where_it_disturbs_nobody(
    monkeypatch: pytest.MonkeyPatch,
    clips: Path,
    tmp_path: Path,
    capsys: Capture,
    terminal: str,
    options: list[str],
) -> None:
    """Where the answers scroll by on the same terminal, there is none."""
    monkeypatch.setattr(progress, "_WORTH_A_BAR_S", 0.0)
    monkeypatch.setattr(command, "load", lambda model, precision: bundles.recognizer())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: "err" in terminal)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: "out" in terminal)
    to_file = options == ["--out"]
    assert command.main([str(clips), *options, *([str(tmp_path / "out.txt")] if to_file else [])]) == 0
    expected = {"err": options != ["--quiet"], "err-and-out": to_file, "none": False}[terminal]
    assert ("8/8" in capsys.readouterr().err) == expected
