"""Many files at once: one table, the failures beside the successes, to take along as CSV and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from page import look, words
from page.judging import scratch, told
from page.tidy import needed
from ser_core import records
from ser_core.audio import SUFFIXES
from ser_core.tables import percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ser_core.recognizer import Recognizer
    from ser_core.records import Record

MOST = 100
"""Files in one go."""
ONE_AT_A_TIME: dict[str, Any] = {"concurrency_id": "files", "concurrency_limit": 1}
"""Whoever brings many files waits for others who do, and leaves the model's places to those who bring one."""
COLUMNS = ("file", "seconds", "emotion", "how sure", "notes")
HINT = f"Up to {MOST} files; each is judged as on the first tab."


def build(recognizer: Recognizer) -> None:
    """Lay the tab out and wire it."""
    chosen = gr.File(
        file_count="multiple",
        file_types=["audio", *SUFFIXES],
        type="filepath",
        label="Sound files",
        elem_id="files",
    )
    with gr.Row():
        start = gr.Button("Judge them all", variant="primary", elem_id="judge-all")
        stop = gr.Button("Stop", elem_id="stop-all")
    said = look.announced(words.hint(HINT), "files-said")
    table = gr.Dataframe(
        headers=list(COLUMNS),
        datatype=["str", "number", "str", "str", "str"],
        interactive=False,
        wrap=True,
        label="Answers",
        buttons=["copy"],
        elem_id="files-table",
        elem_classes="table",
    )
    with gr.Row():
        as_csv = gr.DownloadButton("Table (CSV)", interactive=False, size="sm", elem_id="files-csv")
        as_json = gr.DownloadButton("All answers (JSON)", interactive=False, size="sm", elem_id="files-json")

    def show(paths: list[str] | None, progress: gr.Progress = gr.Progress()) -> Iterator[tuple[Any, ...]]:  # noqa: B008
        # Step by step: whoever presses Stop or leaves ends it between two files.
        found: list[Record] = []
        for record in judged(recognizer, paths or []):
            found.append(record)
            progress((len(found), len(paths or [])), unit="files")
            yield gr.skip(), gr.skip(), gr.skip(), gr.skip()
        failed = sum(record.error is not None for record in found)
        sentence = f"<p>{len(found) - failed} of {len(found)} files judged.</p>"
        yield sentence, [row(record) for record in found], *(_download(found, kind) for kind in ("csv", "json"))

    shown = [said, table, as_csv, as_json]
    event = start.click(
        show, chosen, shown, trigger_mode="once", api_visibility="private", show_progress_on=said, **ONE_AT_A_TIME
    )
    stop.click(lambda: words.hint("Stopped. " + HINT), None, said, cancels=event, queue=False, api_visibility="private")


def judged(recognizer: Recognizer, paths: Sequence[str]) -> Iterator[Record]:
    """Judge files one after the other; what can't be judged is recorded with the reason.

    Args:
        recognizer: answers.
        paths: of the files.

    Raises:
        gr.Error: no file, more than `MOST`, or something unforeseen.
    """
    if not paths:
        raise gr.Error("Choose some sound files first.", title="Nothing to judge", print_exception=False)
    if len(paths) > MOST:
        message = f"{len(paths)} files are more than the {MOST} that are judged at once. Choose fewer."
        raise gr.Error(message, title="Too many", print_exception=False)
    for index, path in enumerate(paths):
        needed(*paths[index:])  # however long those before them take
        with told():
            record = records.judge(recognizer, path, Path(path).name)
        yield record


def row(record: Record) -> list[Any]:
    """A record as the table shows it, in the order of `COLUMNS`."""
    answer = record.prediction
    if answer is None:
        return [record.source, None, "not judged", "", record.error]
    sure = "" if answer.confidence is None else percent(answer.confidence, 0)
    notes = " ".join(note.message for note in answer.notes)
    return [record.source, round(answer.duration_s, 2), words.named(answer.state, answer.label), sure, notes]


def _download(found: Iterable[Record], kind: str) -> gr.DownloadButton:
    path = scratch(f"emotions.{kind}")
    with path.open("w", encoding="utf-8", newline="") as out:
        records.WRITERS[kind](found, out)
    return gr.DownloadButton(value=str(path), interactive=True)
