"""`python -m ser_core SOURCE...`: the same answers as `Recognizer.predict`, for files and folders."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, get_args

from ser_core import hub
from ser_core.audio import SUFFIXES
from ser_core.errors import NoAudio, SerError
from ser_core.prediction import Precision
from ser_core.recognizer import load
from ser_core.records import WRITERS, Record, judge, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ser_core.recognizer import Recognizer

OK, SOME_FAILED, USAGE, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 130, 141
"""Exit codes; the last two are what a shell shows for a program that SIGINT or SIGPIPE ended."""


# Finding and judging.


def find(source: str) -> Iterator[str | NoAudio]:
    """The files that a SOURCE stands for.

    Yields:
        `source` itself where it is no folder; else the sound files in it and in its folders, sorted by path. A folder
        without any, or one that may not be read, gives the error instead.
    """
    if not Path(source).is_dir():
        yield source
        return
    unread: list[OSError] = []
    found = sorted(
        Path(folder, name)
        for folder, _, names in os.walk(source, onerror=unread.append)
        for name in names
        # Names that begin with a dot are what other programs keep beside the sounds (macOS: "._voice.wav").
        if name.lower().endswith(SUFFIXES) and not name.startswith(".")
    )
    yield from map(str, found)
    for error in unread:
        yield NoAudio(f"The folder {error.filename} can't be read ({error.strerror}). Check that you may open it.")
    if not found and not unread:
        yield NoAudio(f"There is no sound file in {source}. Looked for names that end in {', '.join(SUFFIXES)}.")


def judge_all(sources: Sequence[str], recognizer: Recognizer) -> Iterator[Record]:
    """One record for each file of each source, in order."""
    for source in sources:
        for path in find(source):
            yield Record(source, None, str(path)) if isinstance(path, NoAudio) else judge(recognizer, path)


@dataclass
class _Failures:
    """Counts the records that hold an error and tells each on standard error while they pass."""

    count: int = 0

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        for record in records:
            if record.error is not None:
                self.count += 1
                print(f"{printable(record.source)}: {printable(record.error)}", file=sys.stderr, flush=True)
            yield record


# The command.


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m ser_core",
        description="Tell the emotion in each voice recording: neutral, calm, happy, sad, angry, fearful, disgust or "
        "surprised, with how sure the model is.",
        epilog="Exit code: 0 if all files were judged (also as holding no voice); 1 if some could not be, the others "
        "are answered all the same; 2 if the command is wrong or the model can't be used.",
    )
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="a sound file, or a folder: then all sound files in it and below, by the usual endings, sorted by path",
    )
    parser.add_argument(
        "--format",
        choices=WRITERS,
        default="text",
        help="text: for reading (default); json: a list with one object a file; jsonl: one object a line, as they "
        "come; csv: a flat table",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write there, not to standard output; a file of this name is replaced, once all is judged",
    )
    parser.add_argument(
        "--model",
        metavar="DIR|USER/NAME[@COMMIT]",
        help="folder of the model, or a model on the Hub (default: the one that the environment variable "
        f"{hub.VARIABLE} names, or else the one that comes with this)",
    )
    parser.add_argument(
        "--precision", choices=get_args(Precision), help="of the model's weights (default: the model's own choice)"
    )
    return parser


@contextlib.contextmanager
def _opened(out: Path | None) -> Iterator[IO[str]]:
    """Standard output, or the file: written beside its place and moved there at the end, if nothing went wrong."""
    if out is None:
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        yield sys.stdout
        return
    place = out.resolve()
    if place.exists() and not place.is_file():  # a device or a pipe can't be replaced; a folder is refused by open
        with place.open("w", encoding="utf-8", newline="") as file:
            yield file
        return
    scratch = place.with_name(f".ser_core-{os.getpid()}.tmp")
    try:
        with scratch.open("x", encoding="utf-8", newline="") as file:
            yield file
        if place.exists():
            shutil.copymode(place, scratch)
        scratch.replace(place)
    finally:
        scratch.unlink(missing_ok=True)


def _is_source(out: Path, sources: Sequence[str]) -> bool:
    """Whether `out` is one of the recordings, or a file in the folders that would be taken for one."""
    files = (path for source in sources for path in find(source) if isinstance(path, str))
    return out.exists() and any(Path(path).exists() and out.samefile(path) for path in files)


def run(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, judge, write; give the exit code. Wrong usage ends in SystemExit(2)."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.out is not None and _is_source(options.out, options.sources):
        parser.error(f"--out {printable(str(options.out))} is one of the recordings; name another file")
    failures = _Failures()
    try:
        with _opened(options.out) as out:
            model = options.model or os.environ.get(hub.VARIABLE) or None
            recognizer = load(model, precision=options.precision)
            WRITERS[options.format](failures.watch(judge_all(options.sources, recognizer)), out)
            out.flush()
    except SerError as error:
        parser.exit(USAGE, f"{parser.prog}: error: {printable(str(error))}\n")
    except BrokenPipeError:
        raise
    except OSError as error:  # of the output: what is wrong with a recording comes as a SerError
        place = "standard output" if options.out is None else f"--out {printable(str(options.out))}"
        parser.error(f"{place} can't be written ({error.strerror or error})")
    return SOME_FAILED if failures.count else OK


def main(arguments: Sequence[str] | None = None) -> int:
    """`run`, where an interrupt or a reader that went away ends quietly."""
    try:
        return run(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes standard output once more when it ends; that must not fail, too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


if __name__ == "__main__":
    sys.exit(main())
