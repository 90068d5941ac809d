"""What a stopped run leaves, and what the next makes of it; through the command line see test_resume."""

from __future__ import annotations

import io
import json
import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ser_core import journal, records
from ser_core.errors import OutputError
from ser_core.records import Record
from tests import bundles, fakes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ser_core.prediction import ModelInfo

INFO = bundles.INFO
ANSWER = fakes.answer()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The file that the answers are for; it is not there yet."""
    return tmp_path / "answers.jsonl"


@pytest.fixture
def clips(tmp_path: Path) -> list[str]:
    """Four files; what they hold doesn't matter here."""
    paths = [tmp_path / f"{name}.wav" for name in "abcd"]
    for path in paths:
        path.write_bytes(b"sound")
    return [str(path) for path in paths]


def kept(out: Path) -> Path:
    return out.with_name("answers.jsonl.part")


def stopped(out: Path, judged: Sequence[str], info: ModelInfo = INFO) -> None:
    """A run that was stopped when it had judged these."""
    with journal.opened(out) as opened:
        opened.begin(info)
        for path in judged:
            opened.add(Record(path, ANSWER, None), journal.stamp(path))


def known(out: Path, clips: Sequence[str]) -> str:
    """The letters of the clips whose answers the next run takes over."""
    with journal.opened(out) as opened:
        opened.begin(INFO)
        return "".join(path[-5] for path in clips if opened.has(path))


# What is kept.


def test_the_next_run_takes_over_what_was_judged(out: Path, clips: list[str]) -> None:
    stopped(out, clips[:2])
    assert known(out, clips) == "ab"
    stopped(out, clips[2:3])
    assert known(out, clips) == "abc"


def test_each_line_can_be_read_while_the_run_goes_on(out: Path, clips: list[str]) -> None:
    with journal.opened(out) as opened:
        opened.begin(INFO)
        for count, path in enumerate(clips):
            opened.add(Record(path, ANSWER, None), journal.stamp(path))
            who, *lines = [json.loads(line) for line in kept(out).read_bytes().splitlines()]
            assert who["model"]["name"] == INFO.name
            assert [line["answer"]["source"] for line in lines] == clips[: count + 1]
    assert lines[0]["answer"] == json.loads(json.dumps(Record(clips[0], ANSWER, None).to_dict()))


def test_all_is_written_in_the_order_that_is_asked_for(out: Path, clips: list[str]) -> None:
    stopped(out, [clips[2], clips[0]])
    failed = Record(clips[1], None, "It is empty.")
    lost = Record("folder", None, "There is no sound file in it.")
    written, expected = io.StringIO(), io.StringIO()
    with journal.opened(out) as opened:
        opened.begin(INFO)
        opened.add(failed, journal.stamp(clips[1]))
        opened.add(Record(clips[3], ANSWER, None), journal.stamp(clips[3]))
        opened.write([lost, *clips, clips[0]], written)
    good = {path: Record(path, ANSWER, None) for path in clips}
    records.write_jsonl([lost, good[clips[0]], failed, *(good[path] for path in (*clips[2:], clips[0]))], expected)
    assert written.getvalue() == expected.getvalue()


def test_a_file_is_called_as_it_is_called_now(
    out: Path, clips: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(out, clips)
    monkeypatch.chdir(tmp_path)
    written = io.StringIO()
    with journal.opened(out) as opened:
        opened.begin(INFO)
        assert opened.has("a.wav")
        opened.write(["a.wav"], written)
    assert json.loads(written.getvalue())["source"] == "a.wav"
    # And the same name elsewhere is another file.
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with journal.opened(out) as opened:
        opened.begin(INFO)
        assert not opened.has("a.wav")


def test_a_name_that_is_no_text_is_kept(out: Path, tmp_path: Path) -> None:
    path = str(tmp_path / os.fsdecode(b"\xff\n.wav"))
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(b"sound")
    stopped(out, [path])
    with journal.opened(out) as opened:
        opened.begin(INFO)
        assert opened.has(path)


# What is judged again.


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b"another sound"),
        lambda path: os.utime(path, ns=(0, path.stat().st_mtime_ns + 1)),
        lambda path: path.unlink(),
    ],
    ids=["size", "time", "gone"],
)
def test_a_file_that_changed(out: Path, clips: list[str], tmp_path: Path, change: Callable[[Path], Any]) -> None:
    stopped(out, clips)
    change(tmp_path / "b.wav")
    assert known(out, clips) == "acd"


def test_a_file_that_changed_while_it_was_judged(out: Path, clips: list[str], tmp_path: Path) -> None:
    with journal.opened(out) as opened:
        opened.begin(INFO)
        before = journal.stamp(clips[0])
        (tmp_path / "a.wav").write_bytes(b"another sound")
        opened.add(Record(clips[0], ANSWER, None), before)
        opened.add(Record(clips[1], ANSWER, None), journal.stamp(clips[1]))
    assert known(out, clips) == "b"


def test_a_file_that_failed(out: Path, clips: list[str]) -> None:
    with journal.opened(out) as opened:
        opened.begin(INFO)
        opened.add(Record(clips[0], None, "It is empty."), journal.stamp(clips[0]))
        opened.add(Record(clips[1], ANSWER, None), journal.stamp(clips[1]))
    assert known(out, clips) == "b"


def test_the_last_answer_of_a_file_counts(out: Path, clips: list[str]) -> None:
    stopped(out, [clips[0]])
    written = io.StringIO()
    with journal.opened(out) as opened:
        opened.begin(INFO)
        opened.add(Record(clips[0], fakes.answer(label="calm"), None), journal.stamp(clips[0]))
    with journal.opened(out) as opened:
        opened.begin(INFO)
        opened.write([clips[0]], written)
    assert json.loads(written.getvalue())["label"] == "calm"


@pytest.mark.parametrize("lost", [1, 2, 40])
def test_a_line_that_was_not_written_whole(out: Path, clips: list[str], lost: int) -> None:
    stopped(out, clips)
    kept(out).write_bytes(kept(out).read_bytes()[:-lost])
    assert known(out, clips) == "abc"
    # What comes next begins a line of its own.
    stopped(out, clips[3:])
    assert known(out, clips) == "abcd"


@pytest.mark.parametrize("damage", [b"\0" * 50, b"[1, 2]", b"{}", b'{"answer": {}}', b"[" * 100_000, b""])
def test_a_line_that_is_damaged(out: Path, clips: list[str], damage: bytes) -> None:
    stopped(out, clips)
    lines = kept(out).read_bytes().split(b"\n")
    kept(out).write_bytes(b"\n".join([*lines[:2], damage, *lines[3:]]))
    assert known(out, clips) == "acd"


# Who answers.


@pytest.mark.parametrize(
    "changes", [{"name": "other"}, {"version": "9"}, {"revision": "ab12cd34ef"}, {"precision": "int8"}]
)
def test_another_model_is_refused_and_loses_nothing(out: Path, clips: list[str], changes: dict[str, Any]) -> None:
    stopped(out, clips)
    with pytest.raises(OutputError, match=r"(?s)for 4 files, by another model.* --model and --precision.* --fresh"):
        stopped(out, [], replace(INFO, **changes))
    assert known(out, clips) == "abcd"
    with journal.opened(out) as opened:
        opened.begin(replace(INFO, **changes), fresh=True)
        assert opened.answers == 0
        opened.add(Record(clips[0], ANSWER, None), journal.stamp(clips[0]))
    with pytest.raises(OutputError, match="by another model"):
        known(out, clips)


def test_the_same_model_from_elsewhere_goes_on(out: Path, clips: list[str]) -> None:
    stopped(out, clips[:1], replace(INFO, source="the Hub"))
    assert known(out, clips) == "a"


def test_another_version_of_the_program_is_refused(
    out: Path, clips: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(out, clips)
    monkeypatch.setattr(journal, "program", lambda: "changed")
    with pytest.raises(OutputError, match="another version of this program"):
        known(out, clips)


def test_the_program_is_another_when_its_code_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "__file__", str(tmp_path / "journal.py"))
    seen = set()
    for code in ("a", "b"):
        (tmp_path / "features.py").write_text(code, encoding="utf-8")
        assert journal.program() == journal.program()
        seen.add(journal.program())
    assert len(seen) == 2


# The file itself.


@pytest.mark.parametrize("content", [b"my own notes\n", b'{"source": "a.wav"}\n', b"no line", b"{}"])
@pytest.mark.parametrize("fresh", [False, True])
def test_what_somebody_else_wrote_is_left_alone(out: Path, content: bytes, fresh: bool) -> None:
    kept(out).write_bytes(content)
    with pytest.raises(OutputError, match="is in the way"), journal.opened(out) as opened:
        opened.begin(INFO, fresh=fresh)
    assert kept(out).read_bytes() == content


@pytest.mark.parametrize("make", [lambda path, away: path.symlink_to(away), lambda path, away: path.mkdir()])
def test_what_is_no_file_is_left_alone(out: Path, tmp_path: Path, make: Callable[[Path, Path], None]) -> None:
    away = tmp_path / "away"
    away.touch()
    make(kept(out), away)
    with pytest.raises(OutputError, match="no ordinary file"), journal.opened(out):
        pass
    assert away.read_bytes() == b""


def test_one_run_holds_it_at_a_time(out: Path, clips: list[str]) -> None:
    with journal.opened(out) as opened:
        opened.begin(INFO)
        with pytest.raises(OutputError, match=f"Another run is writing {out}"), journal.opened(out):
            pass
        opened.add(Record(clips[0], ANSWER, None), journal.stamp(clips[0]))
    assert known(out, clips) == "a"


@pytest.mark.parametrize("then", ["gone", "anew"])
def test_who_comes_when_it_is_just_deleted_does_not_write_into_what_is_gone(
    out: Path, clips: list[str], monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    stopped(out, clips)
    hold = journal.hold
    held: list[Any] = []

    def deleted_first(file: Any) -> bool:
        if not held:
            kept(out).unlink()
            if then == "anew":  # by a third run, which was quicker
                kept(out).touch()
        held.append(file)
        return hold(file)

    monkeypatch.setattr(journal, "hold", deleted_first)
    stopped(out, clips[:1])
    assert len(held) == 2
    assert known(out, clips) == "a"


def test_where_there_are_no_locks_it_goes_without(out: Path, clips: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def lock(descriptor: int, *, blocking: bool) -> bool:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("filelock.lock_descriptor", lock)
    stopped(out, clips)
    assert known(out, clips) == "abcd"


def test_nothing_is_left_where_nothing_was_judged_or_all_is_done(out: Path, clips: list[str]) -> None:
    stopped(out, [])
    assert not kept(out).exists()
    with pytest.raises(ZeroDivisionError), journal.opened(out):
        raise ZeroDivisionError
    assert not kept(out).exists()
    stopped(out, clips)
    with journal.opened(out) as opened:
        opened.begin(INFO)
        opened.delete()
    assert not kept(out).exists()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400])
def test_it_is_as_private_as_what_it_will_replace(out: Path, clips: list[str], mode: int) -> None:
    out.touch()
    out.chmod(mode)
    stopped(out, clips)
    assert stat.S_IMODE(kept(out).stat().st_mode) == mode | 0o600


def test_a_stamp_is_of_a_file_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"12345")
    assert journal.stamp(str(path)) == (5, path.stat().st_mtime_ns)
    assert journal.stamp(str(tmp_path / "none.wav")) is None
    assert journal.stamp("a\0b") is None
