"""What the tests of `--engine ray` share: a corpus, the command, and what its rows are held to."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import fs, parquet

import ser_core
from ser_core import __main__ as command
from ser_core import files
from ser_core.emotions import LABELS
from tests import sounds

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def environment() -> Iterator[Path]:
    """That of Ray, as long as the context lasts; gives the folder for its files."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # sockets lie in it, whose paths may have 107 bytes
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        for name, value in {
            "RAY_TMPDIR": folder,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            # The same in all tests of a process: Ray reads them once.
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
        }.items():
            patch.setenv(name, value)
        yield Path(folder)
    shutil.rmtree(folder, ignore_errors=True)


def voices(folder: Path) -> Path:
    """The folder, made, with six voices, 0.wav to 5.wav."""
    folder.mkdir()
    for number in range(6):
        sounds.write(folder, sounds.voice(1.0, seed=number), 16_000, stem=str(number))
    return folder


def ask(source: str | Path, out: str | Path, model: Path, *options: str) -> int:
    """Run the command in this process with one worker, unless the options say otherwise; gives the exit code."""
    more = [] if "--jobs" in options else ["--jobs", "1"]
    arguments = [str(source), "--engine", "ray", "--format", "parquet", "--out", str(out), "--model", str(model)]
    try:
        return command.main([*arguments, *more, *options])
    except SystemExit as end:
        return int(end.code or 0)


def read(out: Path) -> dict[str, dict[str, Any]]:
    """The row of each source; fails where one has two."""
    rows = [row for path in sorted(out.glob("*.parquet")) for row in parquet.read_table(path).to_pylist()]
    found = {row["source"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def fetched(s3: fs.FileSystem, copy: Path, clips: Path) -> dict[str, dict[str, Any]]:
    """The rows in corpus/answers of a store, by the files here that the sources in corpus/clips are copies of."""
    copy.mkdir()
    fs.copy_files("corpus/answers", str(copy), source_filesystem=s3)
    return {str(clips / name.removeprefix("s3://corpus/clips/")): row for name, row in read(copy).items()}


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
