"""What became of each of many recordings as rows of an Arrow table, for Parquet: one schema, whatever is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ser_core.emotions import LABELS

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

    from ser_core.journal import Stamp
    from ser_core.prediction import ModelInfo, Prediction, Window
    from ser_core.records import Record

_LAST_NS = 2**63 - 1
"""The last time, in nanoseconds since 1970, that 64 bits hold: in the year 2262."""


def schema() -> pa.Schema:
    """The columns and their types.

    Of every row: `source` (path or URL), the model (`model_name`, `model_version`, `model_revision`,
    `model_precision`), and the file as it was when it was judged (`size_bytes`, `mtime`), which is empty where there
    was none. Of a file that was judged: `state`, `label`, `confidence` and a column for each emotion in the order of
    `LABELS`, as in `Prediction`; `duration_s`, `sound_start_s`, `sound_end_s` in seconds; `notes`, their codes, worst
    first; `windows`, each with the same columns as the whole and its own `start_s`, `end_s` and `attention`. Of one
    that could not be judged: `error`. What doesn't apply is null.
    """
    import pyarrow as pa

    seconds, text = pa.float64(), pa.string()
    answer = [
        *(("state", text), ("label", text), ("confidence", pa.float64())),
        *((label, pa.float64()) for label in LABELS),
    ]
    sound = [("sound_start_s", seconds), ("sound_end_s", seconds)]
    window = [("start_s", seconds), ("end_s", seconds), *sound, *answer, ("attention", pa.list_(pa.float64()))]
    return pa.schema(
        [
            ("source", text),
            *answer,
            ("duration_s", seconds),
            *sound,
            ("notes", pa.list_(text)),
            ("windows", pa.list_(pa.struct(window))),
            ("error", text),
            *((f"model_{name}", text) for name in ("name", "version", "revision", "precision")),
            ("size_bytes", pa.int64()),
            ("mtime", pa.timestamp("ns", tz="UTC")),
        ]
    )


def table(answers: Iterable[tuple[Record, Stamp | None]], model: ModelInfo) -> pa.Table:
    """Rows in the order of the answers, in the columns of `schema`.

    Args:
        answers: each with what its file looked like before it was judged; None where there was no file.
        model: which one was asked; of those that could not be judged, too.
    """
    import pyarrow as pa

    asked = {f"model_{name}": getattr(model, name) for name in ("name", "version", "revision", "precision")}
    rows = [{"source": text(record.source), **asked, **_stamped(seen), **_judged(record)} for record, seen in answers]
    # By an explicit schema: a block of failures alone would make every other column one of nulls.
    return pa.Table.from_pylist(rows, schema=schema())


def text(name: str) -> str:
    r"""A file's name as text: bytes in it that are no UTF-8, which a column of texts can't hold, become `\udc..`."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _judged(record: Record) -> dict[str, Any]:
    answer = record.prediction
    if answer is None:
        return {"error": text(record.error or "")}
    return {
        **_answer(answer),
        "duration_s": answer.duration_s,
        "notes": [note.code for note in answer.notes],
        "windows": [
            {"start_s": one.start_s, "end_s": one.end_s, **_answer(one), "attention": list(one.attention)}
            for one in answer.windows
        ],
    }


def _answer(answer: Prediction | Window) -> dict[str, Any]:
    """What a recording and a window of it have alike."""
    sound = answer.sound
    return {
        "state": answer.state,
        "label": answer.label,
        "confidence": answer.confidence,
        **answer.probabilities,
        "sound_start_s": None if sound is None else sound.start_s,
        "sound_end_s": None if sound is None else sound.end_s,
    }


def _stamped(seen: Stamp | None) -> dict[str, Any]:
    if seen is None:
        return {}
    # A time that can't be told is none, and the file will be judged again.
    return {"size_bytes": seen.size, "mtime": seen.mtime_ns if abs(seen.mtime_ns) <= _LAST_NS else None}
