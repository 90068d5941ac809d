"""`python -m ser_core --engine ray`: the same answers on a cluster, none lost, none twice, whoever dies meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from pyarrow import fs, parquet

import ser_core
from ser_core import __main__ as command
from ser_core import cluster, corpus, files, journal, parts, worker
from ser_core.emotions import LABELS
from ser_core.errors import EngineError
from ser_core.prediction import ModelInfo
from ser_core.sources import Item
from tests import bundles, s3_server, sounds
from tests import cluster as acceptance
from tests.processes import ROOT, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ser_core.corpus import Plan
    from ser_core.parts import Folder
    from tests.s3_server import Store

Capture = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("no_model_named")
on_cluster = pytest.mark.cluster


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[str]:
    """That of Ray, for all of this module; gives the folder for its files."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # sockets lie in it, whose paths may have 107 bytes
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        for name, value in {
            "RAY_TMPDIR": folder,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
        }.items():
            patch.setenv(name, value)
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.make(tmp_path_factory.mktemp("model") / "small").folder


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A folder of six voices, 0.wav to 5.wav."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(6):
        sounds.write(folder, sounds.voice(1.0, seed=number), 16_000, stem=str(number))
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "answers"


@pytest.fixture
def ask(model: Path, clips: Path, out: Path) -> Callable[..., int]:
    """Runs the command in this process; gives the exit code."""

    def run(*options: str, source: str | Path = clips, to: str | Path = out) -> int:
        given = {"--model": str(model), "--jobs": "1"}
        more = [part for name, value in given.items() if name not in options for part in (name, value)]
        arguments = [str(source), "--engine", "ray", "--format", "parquet", "--out", str(to)]
        try:
            return command.main([*arguments, *more, *options])
        except SystemExit as end:
            return int(end.code or 0)

    return run


def read(out: Path) -> dict[str, dict[str, Any]]:
    """The row of each source; fails where one has two."""
    rows = [row for path in sorted(out.glob("*.parquet")) for row in parquet.read_table(path).to_pylist()]
    found = {row["source"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def errors(out: Path) -> dict[str, str | None]:
    """For each file, by its name alone, what went wrong with it."""
    return {Path(source).name: row["error"] for source, row in sorted(read(out).items())}


def assert_same(rows: dict[str, dict[str, Any]], folder: Path, model: str | Path | None) -> None:
    """That rows say what one machine says of a folder."""
    recognizer = ser_core.load(model)
    records = list(files.judge_all(files.find_all([str(folder)]), recognizer, 2))
    assert sorted(rows) == sorted(record.source for record in records)
    for record in records:
        row, answer = rows[record.source], record.prediction
        assert row["error"] == record.error
        assert row["model_revision"] == recognizer.info.revision
        assert (answer is None) == (row["state"] is None)
        if answer is not None:
            assert (row["state"], row["label"], row["duration_s"]) == (answer.state, answer.label, answer.duration_s)
            assert row["notes"] == [note.code for note in answer.notes]
            assert [one["start_s"] for one in row["windows"]] == [one.start_s for one in answer.windows]
            told = {label: row[label] for label in LABELS if row[label] is not None}
            assert told == pytest.approx(answer.probabilities, abs=1e-5)


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
    answers = store.buckets["corpus"]
    to = f"s3://ann:secret@corpus/answers?{store.query}"
    assert ask(to=to) == 0
    broken = min(key for key in answers if key.endswith(".parquet"))
    answers[broken] = (answers[broken][0][:-9], 0.0)
    answers["answers/table.parquet"] = (b"mine", 0.0)
    os.utime(clips / "4.wav", ns=(0, 0))
    judged.clear()
    assert ask(to=to) == 0
    assert judged == ["0.wav", "1.wav", "4.wav"]  # those of the part that was broken, and the one that was changed
    s3, _ = fs.FileSystem.from_uri(f"s3://ann:secret@corpus?{store.query}")
    assert answers.pop("answers/table.parquet") == (b"mine", 0.0)
    assert_same(_fetched(s3, tmp_path / "copy", clips), clips, model)
    assert ask("--precision", "fp32", to=to) == 2
    assert ask("--precision", "fp32", "--fresh", to=to) == 0
    assert {row["model_precision"] for row in _fetched(s3, tmp_path / "anew", clips).values()} == {"fp32"}


def test_a_store_that_may_not_be_written_is_told_before_anything_is_judged(
    ask: Callable[..., int], judged: list[str], store: Store, capsys: Capture
) -> None:
    assert ask(to=f"s3://ann:secret@none/answers?{store.query}") == 2
    told = capsys.readouterr().err
    assert judged == []
    assert "--out s3://none/answers can't be written (" in told
    assert "secret" not in told


# Workers.


def test_a_worker_with_another_model_does_not_answer(model: Path) -> None:
    other = journal.made_by(ModelInfo("other", "1", "tests", None, "fp16"))
    with pytest.raises(EngineError, match="has another model"):
        worker.Judge([], str(model), None, other)


def test_copies_are_gone_once_they_are_judged(
    clips: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    most = 0

    class Watched(worker.Judge):
        def _judged(self, file: Any) -> Any:
            nonlocal most
            most = max(most, sum(path.is_file() for path in scratch.rglob("*")))
            return super()._judged(file)

    there = fs.SubTreeFileSystem(str(clips), fs.LocalFileSystem())
    (clips / "2.wav").write_bytes(b"")
    items = [Item(f"there://{number}.wav", f"{number}.wav", 0) for number in range(7)]
    info = ser_core.load(model).info
    rows = Watched([there], str(model), None, journal.made_by(info))(worker.block(items)).to_pylist()
    assert [row["source"] for row in rows] == [item.source for item in items]
    assert [row["error"] is None for row in rows] == [True, True, False, True, True, True, False]
    assert (rows[2]["error"], rows[6]["error"]) == (
        *("2.wav is empty. Record or export it again.",),
        *("There is no file 6.wav. Check its name, or record something.",),
    )
    assert 1 <= most <= 2
    assert list(scratch.iterdir()) == []


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


@pytest.mark.parametrize("address", [None, "head:6379"])
def test_ray_is_started_here_or_joined_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    import ray

    asked: list[Any] = []

    def init(where: str, **options: Any) -> None:
        asked.append((where, options.get("num_cpus"), options.get("include_dashboard")))
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
        raise ConnectionError("it doesn't answer")

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    corpus.require()
    with pytest.raises(EngineError, match=r"Can't reach .* \(it doesn't answer\)"), cluster.connected(quiet=True):
        pass
    assert asked == [("local", files.cores(), False) if address is None else (address, None, None)]


def test_the_figures_in_the_docs_are_those_that_were_measured() -> None:
    result = json.loads(acceptance.STORED.read_text(encoding="utf-8"))
    assert result["clips"] >= 2000
    text = acceptance.DOCS.read_text(encoding="utf-8")
    assert acceptance.with_figures(text, result) == text


# A cluster.


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster of one node with one core, which this process has joined."""
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={**_NODE, "include_dashboard": False})
    try:
        made.connect()
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


_NODE = {"num_cpus": 1, "object_store_memory": 100 * 1024 * 1024}


@pytest.fixture
def store() -> Iterator[Store]:
    """An S3 server on this machine with a bucket `corpus`."""
    with s3_server.serving("corpus") as serving:
        yield serving


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A folder of 96 names for three voices of 30 s: some seconds of work."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(3):
        sounds.write(tmp_path, sounds.voice(30.0, seed=number), 16_000, stem=f"voice-{number}")
    for number in range(96):
        os.link(tmp_path / f"voice-{number % 3}.wav", folder / f"{number:03d}.wav")
    return folder


@contextlib.contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    """Do something in a thread of its own; what it raises is raised at the end."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(act)
        yield
        done.result(timeout=60)


def at_work(parent: int | None = None) -> psutil.Process:
    """The process of an actor that is just judging a block; waits for one.

    Args:
        parent: process below which it is; this one if None.
    """
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for process in psutil.Process(parent).children(recursive=True):
            title = "".join(_command_line(process)[:1])
            if title.startswith("ray::MapWorker") and title.endswith(".submit"):
                return process
        time.sleep(0.05)
    raise AssertionError("nobody came to work")


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


@on_cluster
@bundles.needs_shipped
def test_a_cluster_answers_what_one_machine_does(
    nodes: Any, ask: Callable[..., int], clips: Path, out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With the model that ships; failures have their rows."""
    sounds.write(clips, sounds.voice(8.0, 44_100), 44_100, "flac-16", stem="long")
    sounds.write(clips, sounds.silence(1.0), 16_000, stem="silence")
    (clips / "junk.mp3").write_bytes(b"This is no sound.\n" * 99)
    (clips / "empty.wav").touch()
    assert ask("--model", str(bundles.SHIPPED), "--quiet") == 1
    assert_same(read(out), clips, None)
    told = [line.split(": ")[0] for line in capfd.readouterr().err.splitlines() if line.startswith(str(clips))]
    assert told == [str(clips / name) for name in ("empty.wav", "junk.mp3")]


@on_cluster
def test_a_corpus_on_s3_is_answered_on_s3(
    nodes: Any, store: Store, ask: Callable[..., int], clips: Path, model: Path, tmp_path: Path, capsys: Capture
) -> None:
    (clips / "deeper").mkdir()
    (clips / "5.wav").rename(clips / "deeper" / "5.wav")
    (clips / "1.wav").write_bytes(b"")
    s3, _ = fs.FileSystem.from_uri(f"s3://ann:secret@corpus?{store.query}")
    fs.copy_files(str(clips), "corpus/clips", destination_filesystem=s3)
    source, to = (f"s3://ann:secret@corpus/{name}?{store.query}" for name in ("clips", "answers"))
    assert ask(source=source, to=to) == 1
    assert "s3://corpus/clips/1.wav: 1.wav is empty." in capsys.readouterr().err
    before = _fetched(s3, tmp_path / "before", clips)
    assert_same(before, clips, model)
    assert before[str(clips / "0.wav")]["size_bytes"] == (clips / "0.wav").stat().st_size
    # Again: what failed is replaced, and nothing else is fetched.
    sounds.write(clips, sounds.voice(2.0, seed=9), 16_000, stem="1")
    fs.copy_files(str(clips / "1.wav"), "corpus/clips/1.wav", destination_filesystem=s3)
    store.asked.clear()
    assert ask(source=source, to=to) == 0
    assert {key for method, _, key in store.asked if method == "GET" and key.endswith(".wav")} == {"clips/1.wav"}
    after = _fetched(s3, tmp_path / "after", clips)
    assert_same(after, clips, model)
    again = str(clips / "1.wav")
    assert {name: row for name, row in after.items() if name != again} == {
        name: row for name, row in before.items() if name != again
    }


def _fetched(s3: fs.FileSystem, copy: Path, clips: Path) -> dict[str, dict[str, Any]]:
    """The rows in the store, by the paths of the files here that the sources there are copies of."""
    copy.mkdir()
    fs.copy_files("corpus/answers", str(copy), source_filesystem=s3)
    return {str(clips / name.removeprefix("s3://corpus/clips/")): row for name, row in read(copy).items()}


@on_cluster
def test_a_worker_that_is_killed_costs_no_row(
    nodes: Any, ask: Callable[..., int], many: Path, model: Path, out: Path
) -> None:
    def kill() -> None:
        at_work().send_signal(signal.SIGKILL)

    with meanwhile(kill):
        assert ask(source=many) == 0
    assert_same(read(out), many, model)


@on_cluster
def test_a_node_that_goes_away_costs_no_row(
    nodes: Any, ask: Callable[..., int], many: Path, model: Path, out: Path
) -> None:
    """Nor does it hang: what its actor had been handed waits for a core, of which no other is left."""
    node = nodes.add_node(**_NODE)
    raylet = node.all_processes["raylet"][0].process

    def remove() -> None:
        at_work(raylet.pid)
        nodes.remove_node(node, allow_graceful=False)

    with meanwhile(remove):
        assert ask("--jobs", "2", source=many) == 0
    assert raylet.poll() is not None
    assert_same(read(out), many, model)


@on_cluster
def test_the_command_starts_ray_and_ends_it(environment: str, clips: Path, model: Path, out: Path) -> None:
    folder = Path(environment) / "own"
    folder.mkdir()
    asked: list[str | Path] = [
        clips,
        "--engine",
        "ray",
        "--format",
        "parquet",
        "--out",
        out,
        "--model",
        model,
        "--quiet",
    ]
    process = start(*asked, env={**os.environ, "RAY_TMPDIR": str(folder)})
    printed, told = process.communicate(timeout=120)
    assert (process.returncode, printed) == (0, "")
    # But for a line that Ray's core has for every actor that may be started again.
    assert [line for line in told.splitlines() if "core_worker.cc" not in line] == []
    assert_same(read(out), clips, model)
    assert [one for one in psutil.process_iter() if str(folder) in " ".join(_command_line(one))] == []
