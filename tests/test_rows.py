"""Rows for Parquet: one schema whatever is in them, with all that a prediction says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from ser_core import rows
from ser_core.emotions import LABELS
from ser_core.journal import Stamp
from ser_core.prediction import ModelInfo, QualityNote
from ser_core.records import CSV_COLUMNS, Record
from tests import bundles, fakes, sounds

if TYPE_CHECKING:
    from pathlib import Path

MODEL = ModelInfo("small", "1.2.3", "tests", "abc", "int8")
FAILED = Record("a.wav", None, "It is empty.")


def test_a_row_holds_what_the_csv_has_and_the_windows_the_model_and_the_file() -> None:
    names = rows.schema().names
    assert set(CSV_COLUMNS) < set(names)
    assert set(names) - set(CSV_COLUMNS) == {
        *("windows", "model_name", "model_version", "model_revision", "model_precision", "size_bytes", "mtime")
    }
    assert tuple(name for name in names if name in LABELS) == LABELS


def test_a_row_tells_all_that_was_predicted(tmp_path: Path) -> None:
    path = sounds.write(tmp_path, sounds.voice(7.0), 16_000)
    answer = bundles.recognizer().predict(path)
    answer = replace(answer, notes=(QualityNote("clipped", "It is."), QualityNote("quiet", "Too.")))
    assert len(answer.windows) > 1
    assert answer.sound is not None
    (row,) = rows.table([(Record("a", answer, None), Stamp(5, 1_000_000_001))], MODEL).to_pylist()
    assert {label: row[label] for label in LABELS} == answer.probabilities
    assert (row["state"], row["label"], row["confidence"]) == (answer.state, answer.label, answer.confidence)
    assert (row["sound_start_s"], row["sound_end_s"]) == (answer.sound.start_s, answer.sound.end_s)
    assert (row["duration_s"], row["notes"], row["error"]) == (7.0, ["clipped", "quiet"], None)
    assert [row[f"model_{name}"] for name in ("name", "version", "revision", "precision")] == [
        *("small", "1.2.3", "abc", "int8")
    ]
    assert row["size_bytes"] == 5
    assert row["mtime"].value == 1_000_000_001
    for told, window in zip(row["windows"], answer.windows, strict=True):
        assert (told["start_s"], told["end_s"], told["label"]) == (window.start_s, window.end_s, window.label)
        assert {label: told[label] for label in LABELS if told[label] is not None} == window.probabilities
        assert told["attention"] == list(window.attention)


def test_a_recording_without_a_voice_has_neither_label_nor_probabilities(tmp_path: Path) -> None:
    path = sounds.write(tmp_path, sounds.silence(1.0), 16_000)
    answer = bundles.recognizer().predict(path)
    (row,) = rows.table([(Record("a", answer, None), None)], MODEL).to_pylist()
    assert (row["state"], row["notes"]) == ("no_speech", ["silence"])
    assert [row[name] for name in ("label", "confidence", *LABELS, "sound_start_s", "error")] == [None] * 12


def test_failures_alone_have_the_same_types() -> None:
    answered = rows.table([(Record("a", fakes.answer(), None), Stamp(1, 2))], MODEL)
    failed = rows.table([(FAILED, None)], MODEL)
    assert failed.schema == answered.schema == rows.schema()
    assert rows.table([], MODEL).schema == rows.schema()
    assert not any(pa.types.is_null(kind) for kind in rows.schema().types)
    (row,) = failed.to_pylist()
    told = {name: value for name, value in row.items() if value is not None}
    assert told == {
        "source": "a.wav",
        "error": "It is empty.",
        **{f"model_{name}": getattr(MODEL, name) for name in ("name", "version", "revision", "precision")},
    }


def test_a_name_that_is_no_text_becomes_one() -> None:
    name = b"vo\xffice\n.wav".decode("utf-8", "surrogateescape")
    (row,) = rows.table([(Record(name, None, f"There is no file {name}."), None)], MODEL).to_pylist()
    assert row["source"] == "vo\\udcffice\n.wav"
    assert "vo\\udcffice" in row["error"]


def test_a_time_beyond_what_is_told_is_none() -> None:
    table = rows.table([(FAILED, Stamp(1, 2**63)), (FAILED, Stamp(1, 1_700_000_000 * 10**9))], MODEL)
    assert table["mtime"].to_pylist()[0] is None
    assert table["mtime"].to_pylist()[1].to_pydatetime() == datetime.fromtimestamp(1_700_000_000, UTC)
