"""What a worker of a cluster does, asked without one."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import fs

import ser_core
from ser_core import journal, worker
from ser_core.errors import EngineError
from ser_core.prediction import ModelInfo
from ser_core.sources import Item
from tests import answers, bundles

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return bundles.make(tmp_path / "model").folder


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    return answers.voices(tmp_path / "clips")


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
