"""`python -m ser_core --engine ray` on Ray: the same answers, none lost and none twice, whoever dies meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from pyarrow import fs

from ser_core import cluster, corpus, files
from ser_core.errors import EngineError
from tests import bundles, s3_server, sounds
from tests import cluster as acceptance
from tests.answers import ask, assert_same, fetched, read
from tests.processes import start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("no_model_named")]
_NODE = {"num_cpus": 1, "object_store_memory": 100 * 1024 * 1024}


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


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A folder of 48 names for three voices of 20 s: some seconds of work."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(3):
        sounds.write(tmp_path, sounds.voice(20.0, seed=number), 16_000, stem=f"voice-{number}")
    for number in range(48):
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


@bundles.needs_shipped
def test_a_cluster_answers_what_one_machine_does(
    nodes: Any, clips: Path, out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With the model that ships; failures have their rows."""
    sounds.write(clips, sounds.voice(8.0, 44_100), 44_100, "flac-16", stem="long")
    sounds.write(clips, sounds.silence(1.0), 16_000, stem="silence")
    (clips / "junk.mp3").write_bytes(b"This is no sound.\n" * 99)
    (clips / "empty.wav").touch()
    assert ask(clips, out, bundles.SHIPPED, "--quiet") == 1
    assert_same(read(out), clips, None)
    told = [line.split(": ")[0] for line in capfd.readouterr().err.splitlines() if line.startswith(str(clips))]
    assert told == [str(clips / name) for name in ("empty.wav", "junk.mp3")]


def test_a_corpus_on_s3_is_answered_on_s3(
    nodes: Any, clips: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (clips / "deeper").mkdir()
    (clips / "5.wav").rename(clips / "deeper" / "5.wav")
    (clips / "1.wav").write_bytes(b"")
    with s3_server.serving("corpus") as store:
        s3, _ = fs.FileSystem.from_uri(f"s3://ann:secret@corpus?{store.query}")
        fs.copy_files(str(clips), "corpus/clips", destination_filesystem=s3)
        source, out = (f"s3://ann:secret@corpus/{name}?{store.query}" for name in ("clips", "answers"))
        assert ask(source, out, model) == 1
        assert "s3://corpus/clips/1.wav: 1.wav is empty." in capsys.readouterr().err
        rows = fetched(s3, tmp_path / "copy", clips)
        got = [key for method, _, key in store.asked if method == "GET" and key.endswith(".wav")]
        assert sorted(set(got)) == [f"clips/{name}" for name in ("0.wav", "2.wav", "3.wav", "4.wav", "deeper/5.wav")]
    assert_same(rows, clips, model)
    assert rows[str(clips / "0.wav")]["size_bytes"] == (clips / "0.wav").stat().st_size


def test_a_node_that_goes_away_costs_no_row(nodes: Any, many: Path, model: Path, out: Path) -> None:
    """Nor does it hang: what its actor had been handed waits for a core, of which no other is left."""
    node = nodes.add_node(**_NODE)
    raylet = node.all_processes["raylet"][0].process

    def remove() -> None:
        at_work(raylet.pid)
        nodes.remove_node(node, allow_graceful=False)

    with meanwhile(remove):
        assert ask(many, out, model, "--jobs", "2") == 0
    assert raylet.poll() is not None
    assert_same(read(out), many, model)


def test_the_command_starts_ray_and_ends_it_and_a_worker_that_is_killed_costs_no_row(
    environment: Path, many: Path, model: Path, out: Path
) -> None:
    folder = environment / "own"
    folder.mkdir()
    asked = [many, "--engine", "ray", "--format", "parquet", "--out", out, "--model", model]
    process = start(*map(str, asked), "--quiet", env={**os.environ, "RAY_TMPDIR": str(folder)})
    at_work(process.pid).send_signal(signal.SIGKILL)
    printed, told = process.communicate(timeout=120)
    assert process.returncode == 0
    # Quiet, but for what Ray says of the worker that died, and of every one that may be started again.
    assert [
        line for line in (printed + told).splitlines() if "(raylet)" not in line and "core_worker.cc" not in line
    ] == []
    assert_same(read(out), many, model)
    assert [one for one in psutil.process_iter() if str(folder) in " ".join(_command_line(one))] == []


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
