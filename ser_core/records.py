"""What became of each of many recordings, and how that is written down: as text, JSON, JSON lines or CSV."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from ser_core.emotions import LABELS
from ser_core.errors import SerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ser_core.prediction import Prediction
    from ser_core.recognizer import Recognizer

_NEAREST = 3

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a cell begins with that a spreadsheet may compute or send somewhere when the table is opened (OWASP, "CSV
Injection", owasp.org/www-community/attacks/CSV_Injection)."""


@dataclass(frozen=True)
class Record:
    """One recording's outcome: `prediction`, or `error` where it could not be judged; `source` says which it was."""

    source: str
    prediction: Prediction | None
    error: str | None

    def to_dict(self) -> dict[str, Any]:
        """`source` with either the prediction's fields or `error`."""
        if self.prediction is None:
            return {"source": self.source, "error": self.error}
        return {"source": self.source, **self.prediction.to_dict()}


def judge(recognizer: Recognizer, path: str, source: str | None = None) -> Record:
    """Judge one file of many; that it can't be judged is no reason to stop.

    Args:
        recognizer: judges it.
        path: the file.
        source: what the record calls it; its path if None.

    Returns:
        With the error in it where `Recognizer.predict` raises a SerError; anything unforeseen is raised.
    """
    name = path if source is None else source
    try:
        return Record(name, recognizer.predict(path), None)
    except SerError as error:
        return Record(name, None, str(error))


# Formats: each writes records as they come.


def write_text(records: Iterable[Record], out: IO[str]) -> None:
    """A line for each file, with lines of notes below it."""
    for record in records:
        out.write(describe(record) + "\n")
        out.flush()


def write_json(records: Iterable[Record], out: IO[str]) -> None:
    """A list with one object for each file."""
    # Element by element: a folder of long recordings would fill the memory as one list.
    separator = "[\n"
    for record in records:
        out.write(separator + json.dumps(record.to_dict()))
        out.flush()
        separator = ",\n"
    out.write("\n]\n" if separator != "[\n" else "[]\n")


def write_jsonl(records: Iterable[Record], out: IO[str]) -> None:
    """An object on a line for each file."""
    for record in records:
        out.write(json.dumps(record.to_dict()) + "\n")
        out.flush()


def write_csv(records: Iterable[Record], out: IO[str]) -> None:
    """A header, and a row for each file; safe to open in a spreadsheet, whatever the files are called.

    All text is quoted, and a `source` or an `error` that a spreadsheet would take for a formula has a `'` before it,
    as OWASP advises: a stranger's file may be called `=HYPERLINK(...)`. JSON keeps the names as they are.
    """
    # Quoted: a program that splits at semicolons would otherwise find a cell in the middle of a name.
    writer = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writeheader()
    for record in records:
        writer.writerow(_row(record))
        out.flush()


CSV_COLUMNS = (
    *("source", "state", "label", "confidence", *LABELS),
    *("duration_s", "sound_start_s", "sound_end_s", "notes", "error"),
)
"""Columns of the CSV; `notes` holds their codes, joined by semicolons. What does not apply is empty."""

WRITERS: dict[str, Callable[[Iterable[Record], IO[str]], None]] = {
    "text": write_text,
    "json": write_json,
    "jsonl": write_jsonl,
    "csv": write_csv,
}


def describe(record: Record) -> str:
    """A file's outcome for a reader: the three nearest emotions, and what may have spoiled the answer."""
    name, answer = printable(record.source), record.prediction
    if answer is None:
        return f"{name}: not judged. {printable(record.error or '')}"
    nearest = sorted(answer.probabilities.items(), key=lambda item: -item[1])[:_NEAREST]
    shares = ", ".join(f"{label} {100 * share:.0f} %" for label, share in nearest)
    said = {"ok": shares, "uncertain": f"uncertain; nearest are {shares}", "no_speech": "no voice"}[answer.state]
    count = len(answer.windows)
    length = f"{answer.duration_s:.1f} s" + (f" in {count} windows" if count > 1 else "")
    return "\n".join([f"{name}: {said} ({length})", *(f"  {note.message}" for note in answer.notes)])


def _row(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = {"source": _cell(record.source), "error": record.error and _cell(record.error)}
    answer = record.prediction
    if answer is None:
        return row
    span = {"sound_start_s": answer.sound.start_s, "sound_end_s": answer.sound.end_s} if answer.sound else {}
    return {
        **row,
        "state": answer.state,
        "label": answer.label,
        "confidence": answer.confidence,
        **answer.probabilities,
        "duration_s": answer.duration_s,
        **span,
        "notes": ";".join(note.code for note in answer.notes),
    }


def _cell(text: str) -> str:
    """A stranger's text as a cell that a spreadsheet shows and doesn't compute."""
    return f"'{printable(text)}" if text.startswith(_FORMULA) else printable(text)


def printable(text: str) -> str:
    """With control characters and bytes that are no text escaped, so that a file's name can't steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
