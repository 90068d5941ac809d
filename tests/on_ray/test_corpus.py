"""`python -m ser_core --engine ray` without a cluster: what is judged, what is kept, what is told."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import fs

from ser_core import __main__ as command
from ser_core import cluster, corpus, parts, worker
from ser_core.prediction import ModelInfo
from tests import answers, bundles, s3_server, sounds
from tests.answers import assert_same, errors, fetched, read
from tests.processes import ROOT, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ser_core.corpus import Plan
    from ser_core.parts import Folder
    from ser_core.sources import Item
    from tests.s3_server import Store

Capture = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("no_model_named")


@pytest.fixture
def ask(model: Path, clips: Path, out: Path) -> Callable[..., int]:
    """Runs the command in this process; gives the exit code."""

    def run(*options: str, source: str | Path = clips, to: str | Path = out) -> int:
        return answers.ask(source, to, model, *options)

    return run


@pytest.fixture
def store() -> Iterator[Store]:
    """An S3 server on this machine with a bucket `corpus`."""
    with s3_server.serving("corpus") as serving:
        yield serving


# Going on: the command in this process, and the worker's own code without Ray.


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the runs of this process judge, by name, in order."""
    seen: list[str] = []

    def judge(left: list[Item], filesystems: list[Any], folder: Folder, plan: Plan, run: str) -> None:
        asked = worker.Judge(filesystems, plan.model, plan.precision, folder.made_by)
        for number in range(0, len(left), 2):
            folder.write(parts.part_name(run, 1 + number), asked(worker.block(left[number : number + 2])))
        seen.extend(Path(item.path).name for item in left)

    monkeypatch.setattr(cluster, "judge", judge)
    monkeypatch.setattr(cluster, "connected", lambda quiet: contextlib.nullcontext())
    return seen


def test_only_what_has_no_answer_is_judged(
    ask: Callable[..., int], judged: list[str], clips: Path, model: Path, out: Path, capsys: Capture
) -> None:
    away = [path.rename(clips.parent / path.name) for path in sorted(clips.iterdir())[:2]]
    assert ask() == 0
    before = {path: path.read_bytes() for path in out.iterdir()}
    for path in away:
        path.rename(clips / path.name)
    judged.clear()
    assert ask() == 0
    assert judged == ["0.wav", "1.wav"]
    assert capsys.readouterr().err == f"{out} holds the answers for 4 of 6 files; going on from there.\n"
    assert {path: path.read_bytes() for path in before} == before
    judged.clear()
    assert ask("--quiet") == 0
    assert judged == []
    assert capsys.readouterr().err == ""
    assert_same(read(out), clips, model)


def test_what_failed_or_was_changed_is_judged_again_and_its_row_replaced(
    ask: Callable[..., int], judged: list[str], clips: Path, model: Path, out: Path, capsys: Capture
) -> None:
    whole = (clips / "1.wav").read_bytes()
    for name in ("1.wav", "3.wav"):
        (clips / name).write_bytes(b"")
    assert ask() == 1
    told = "{0} is empty. Record or export it again."
    assert capsys.readouterr().err.splitlines() == [
        f"{clips / name}: {told.format(name)}" for name in ("1.wav", "3.wav")
    ]
    assert {name: error for name, error in errors(out).items() if error} == {
        name: told.format(name) for name in ("1.wav", "3.wav")
    }
    (clips / "1.wav").write_bytes(whole)
    sounds.write(clips, sounds.voice(2.0, seed=99), 16_000, stem="0")
    os.utime(clips / "4.wav", ns=(0, 0))
    judged.clear()
    assert ask() == 1
    assert judged == ["0.wav", "1.wav", "3.wav", "4.wav"]
    assert read(out)[str(clips / "0.wav")]["duration_s"] == 2.0
    assert_same(read(out), clips, model)


def test_rows_of_other_files_stay(ask: Callable[..., int], judged: list[str], clips: Path, out: Path) -> None:
    assert ask(source=clips / "1.wav") == 0
    assert ask(source=clips / "2.wav") == 0
    assert errors(out) == {"1.wav": None, "2.wav": None}


def test_what_can_not_be_looked_for_has_one_row_each_time(
    ask: Callable[..., int], judged: list[str], tmp_path: Path, out: Path, capsys: Capture
) -> None:
    (tmp_path / "empty").mkdir()
    for _ in range(2):
        assert ask(source=tmp_path / "empty") == 1
        assert f"{tmp_path / 'empty'}: There is no sound file in" in capsys.readouterr().err
        assert list(read(out)) == [str(tmp_path / "empty")]
    assert judged == []


def test_a_file_that_vanishes_is_a_row_with_its_message(
    ask: Callable[..., int], judged: list[str], clips: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = cluster.judge

    def vanish_first(*arguments: Any) -> None:
        (clips / "2.wav").unlink()
        judge(*arguments)

    monkeypatch.setattr(cluster, "judge", vanish_first)
    assert ask() == 1
    row = read(out)[str(clips / "2.wav")]
    assert row["error"] == "There is no file 2.wav. Check its name, or record something."
    assert (row["size_bytes"], row["mtime"], row["label"]) == (None, None, None)


def test_another_model_is_refused_until_all_is_judged_anew(
    ask: Callable[..., int], judged: list[str], out: Path, capsys: Capture
) -> None:
    assert ask() == 0
    judged.clear()
    assert ask("--precision", "fp32") == 2
    error = capsys.readouterr().err
    assert f"{out} holds the answers for 6 files, by another model (small 1.2.3 fp16" in error
    assert judged == []
    assert len(read(out)) == 6
    assert ask("--precision", "fp32", "--fresh") == 0
    assert len(judged) == 6
    assert {row["model_precision"] for row in read(out).values()} == {"fp32"}


def test_rows_that_are_not_there_at_the_end_are_told(
    ask: Callable[..., int], judged: list[str], out: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(cluster, "judge", lambda *arguments: None)
    assert ask() == 2
    assert f"6 rows are not in {out}" in capsys.readouterr().err


def test_an_interrupt_leaves_what_was_judged(
    ask: Callable[..., int], judged: list[str], out: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    judge = cluster.judge

    def interrupted(left: list[Item], *arguments: Any) -> None:
        judge(left[:4], *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cluster, "judge", interrupted)
        assert ask() == 130
    assert capsys.readouterr().err == f"Stopped. The same command goes on from the answers in {out}.\n"
    judged.clear()
    assert ask() == 0
    assert judged == ["4.wav", "5.wav"]


def test_folders_in_an_object_store_are_kept_like_those_on_a_disk(
    ask: Callable[..., int], judged: list[str], store: Store, clips: Path, model: Path, tmp_path: Path
) -> None:
    objects = store.buckets["corpus"]
    to = f"s3://ann:secret@corpus/answers?{store.query}"
    assert ask(to=to) == 0
    broken = min(key for key in objects if key.endswith(".parquet"))
    objects[broken] = (objects[broken][0][:-9], 0.0)
    objects["answers/table.parquet"] = (b"mine", 0.0)
    os.utime(clips / "4.wav", ns=(0, 0))
    judged.clear()
    assert ask(to=to) == 0
    assert judged == ["0.wav", "1.wav", "4.wav"]  # those of the part that was broken, and the one that was changed
    s3, _ = fs.FileSystem.from_uri(f"s3://ann:secret@corpus?{store.query}")
    assert objects.pop("answers/table.parquet") == (b"mine", 0.0)
    assert_same(fetched(s3, tmp_path / "copy", clips), clips, model)
    assert ask("--precision", "fp32", to=to) == 2
    assert ask("--precision", "fp32", "--fresh", to=to) == 0
    assert {row["model_precision"] for row in fetched(s3, tmp_path / "anew", clips).values()} == {"fp32"}


def test_a_store_that_may_not_be_written_is_told_before_anything_is_judged(
    ask: Callable[..., int], judged: list[str], store: Store, capsys: Capture
) -> None:
    assert ask(to=f"s3://ann:secret@none/answers?{store.query}") == 2
    told = capsys.readouterr().err
    assert judged == []
    assert "--out s3://none/answers can't be written (" in told
    assert "secret" not in told


# Which model.


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (None, None),
        ("http://model.example:8000", "http://model.example:8000"),
        ("ann/voice", "ann/voice@c0ffee"),
        ("ann/voice@v1", "ann/voice@c0ffee"),
    ],
)
def test_workers_are_told_the_very_model(asked: str | None, told: str | None) -> None:
    assert corpus.for_workers(asked, ModelInfo("voice", "1", "the Hub", "c0ffee", "int8")) == told


def test_workers_are_told_a_folder_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert corpus.for_workers("mine", bundles.INFO) == str(tmp_path / "mine")


# Usage.


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--format", "parquet"], "--format parquet needs --engine ray"),
        (["--format", "parquet", "--out", "x"], "--format parquet needs --engine ray"),
        (["--engine", "ray", "--format", "parquet"], "--engine ray needs --out DIR"),
        (["--engine", "ray", "--format", "jsonl", "--out", "x"], "--engine ray writes --format parquet, not jsonl"),
        (["--engine", "ray", "--out", "x"], "--engine ray writes --format parquet, not text"),
        (["--engine", "spark"], "invalid choice: 'spark'"),
    ],
)
def test_options_that_do_not_go_together_are_2(options: list[str], says: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(["a.wav", *options])
    assert caught.value.code == 2
    assert says in capsys.readouterr().err
    assert not Path("x").exists()


def test_places_that_can_not_be_used_are_2(
    ask: Callable[..., int], judged: list[str], tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "file").touch()
    for place, says in (
        (tmp_path / "file", "file is a file. Name a folder for --out"),
        ("nothing://a/b", "nothing://a/b can't be opened"),
        ("/proc/answers", "--out /proc/answers can't be written"),
    ):
        assert ask(to=place) == 2
        assert says in capsys.readouterr().err
    assert ask(source="nothing://a/b") == 2
    assert judged == []


def test_the_ordinary_command_needs_nothing_of_it(clips: Path, model: Path) -> None:
    """Where a package is None, importing it fails; pandas, which librosa brings along, does without PyArrow."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('ray', 'pyarrow', 'fsspec')))\n"
        "from ser_core import __main__ as command\n"
        "code = command.main(sys.argv[1:])\n"
        "print(code, *sorted(set(sys.modules) & {f'ser_core.{name}' for name in "
        "('corpus', 'cluster', 'worker', 'parts', 'rows', 'sources')}))"
    )
    printed, _ = start(str(clips), "--model", str(model), "--format", "csv", code=code).communicate(timeout=120)
    assert printed.splitlines()[-1] == "0"


@pytest.mark.parametrize("package", ["ray.data", "pyarrow.parquet"])
def test_what_is_not_installed_is_told_with_what_installs_it(
    ask: Callable[..., int], out: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert ask() == 2
    assert "pip install -r requirements-cluster.txt" in capsys.readouterr().err
    assert (ROOT / "requirements-cluster.txt").is_file()
    assert not out.exists()
