"""`python -m ser_core SOURCE...`: the same answers as `Recognizer.predict`, for files and folders."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, get_args

from ser_core import backends, hub, journal, remote
from ser_core.errors import ModelUnavailable, SerError
from ser_core.files import MOST_JOBS, cores, find_all, in_order, judge_all, judge_one
from ser_core.prediction import Precision
from ser_core.progress import Progress
from ser_core.recognizer import load
from ser_core.records import WRITERS, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ser_core.files import File
    from ser_core.recognizer import Recognizer
    from ser_core.records import Record

OK, SOME_FAILED, USAGE, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 130, 141
"""Exit codes; the last two are what a shell shows for a program that SIGINT or SIGPIPE ended."""

PARQUET = "parquet"
ENGINES = ("threads", "ray")


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
        help="a sound file, or a folder: then all sound files in it and below, by the usual endings, sorted by path; "
        "with --engine ray also a URL, such as s3://BUCKET/FOLDER",
    )
    parser.add_argument(
        "--format",
        choices=[*WRITERS, PARQUET],
        default="text",
        help="text: for reading (default); json: a list with one object a file; jsonl: one object a line, as they "
        "come; csv: a flat table; parquet: a folder of tables, with --engine ray",
    )
    parser.add_argument(
        "--out",
        metavar="FILE|DIR",
        help="write there, not to standard output; a file of this name is replaced, once all is judged; with "
        "--engine ray a folder, or the URL of one",
    )
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default=ENGINES[0],
        help="threads: this machine alone (default); ray: Ray Data, on the cluster that RAY_ADDRESS names or on this "
        "machine (docs/cluster.md)",
    )
    parser.add_argument(
        "--jobs",
        type=_jobs,
        metavar="N",
        help=f"files judged at once (default: one more than there are cores, {_default_jobs()} here; with --engine ray "
        "one fewer than the cluster has cores); the answers and their order are the same for any N",
    )
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="judge all anew: forget what a stopped run left. (With --format jsonl and --out FILE, what is judged is "
        f"kept in FILE{journal.SUFFIX} until FILE is written, and the same command goes on from there; files that were "
        "changed or failed are judged again. So it is with --engine ray and the answers in DIR. Other formats begin "
        "anew by themselves.)",
    )
    parser.add_argument(
        "--quiet", action="store_true", help="show no progress on a terminal; what can't be judged is told all the same"
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


def _default_jobs() -> int:
    return min(cores() + 1, MOST_JOBS)


def _jobs(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= MOST_JOBS:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {MOST_JOBS}")


@contextlib.contextmanager
def _replaced(place: Path) -> Iterator[IO[str]]:
    """A file that is written beside its place and moved there at the end, if nothing went wrong."""
    scratch = place.with_name(f".ser_core-{os.getpid()}.tmp")
    try:
        with scratch.open("x", encoding="utf-8", newline="") as file:
            yield file
        if place.exists():
            shutil.copymode(place, scratch)
        scratch.replace(place)
    finally:
        scratch.unlink(missing_ok=True)


@contextlib.contextmanager
def _opened(out: Path | None) -> Iterator[IO[str]]:
    """Standard output, or the file; see `_replaced`."""
    if out is None:
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        yield sys.stdout
    elif _replaceable(out):
        with _replaced(out.resolve()) as file:
            yield file
    else:
        with out.open("w", encoding="utf-8", newline="") as file:
            yield file


def _replaceable(out: Path) -> bool:
    """Whether it is a plain file, or none yet. A device or a pipe can't be replaced; a folder is refused by open."""
    return not out.exists() or out.is_file()


def _is_source(out: Path, files: Iterable[File]) -> bool:
    """Whether `out` is one of the recordings, or a file in the folders that would be taken for one."""
    paths = (Path(file) for file in files if isinstance(file, str) and os.path.exists(file))  # noqa: PTH110
    return out.exists() and any(out.samefile(path) for path in paths)


def _model(options: argparse.Namespace) -> str | None:
    return options.model or os.environ.get(hub.VARIABLE) or None


def _load(options: argparse.Namespace, files: Sequence[File]) -> Recognizer:
    if options.jobs > 1 and len(files) > 1:
        backends.prefer_throughput()
    servers = remote.asked_for(os.environ.get(remote.VARIABLE), os.environ.get(remote.FALLBACK))
    recognizer = load(_model(options), precision=options.precision, **servers)
    # Told once, and not of each of many files.
    if servers and not recognizer.is_available() and recognizer.tier:
        faults = recognizer.tier.faults()
        raise ModelUnavailable(f"No model server can be asked ({faults}). Start one, or empty {remote.VARIABLE}.")
    return recognizer


def _progress(options: argparse.Namespace, total: int, done: int = 0) -> Progress:
    # Answers that scroll by on the same terminal show how far it is, and a bar would stand among them.
    scrolls = options.out is None and sys.stdout.isatty()
    return Progress(total, done, bar=not (options.quiet or scrolls), remarks=not options.quiet)


def _stream(options: argparse.Namespace, files: Sequence[File]) -> int:
    """Judge all and write each answer when it comes; how many failed."""
    with _opened(options.out) as out:
        records = judge_all(files, _load(options, files), options.jobs)
        with contextlib.closing(records), _progress(options, len(files)) as progress:
            WRITERS[options.format](progress.watch(records), out)
        out.flush()
    return progress.failed


def _resume(options: argparse.Namespace, files: Sequence[File]) -> int:
    """Judge what no stopped run has judged, note each answer in the journal, write all at the end; how many failed."""
    place = options.out.resolve()
    with journal.opened(place) as written:
        recognizer = _load(options, files)
        written.begin(recognizer.info, fresh=options.fresh)
        left = [file for file in files if not (isinstance(file, str) and written.has(file))]
        done = len(files) - len(left)

        def judge_stamped(file: File) -> tuple[journal.Stamp | None, Record]:
            # First: what changes while it is judged must not pass for what was judged.
            stamp = journal.stamp(file) if isinstance(file, str) else None
            return stamp, judge_one(recognizer, file)

        judged = in_order(judge_stamped, left, options.jobs)
        with contextlib.closing(judged), _progress(options, len(files), done) as progress:
            if done:
                progress.remark(
                    f"{written.path} holds the answers for {done:,} of {len(files):,} files; going on from there."
                )
            try:
                for stamp, record in judged:
                    written.add(record, stamp)
                    progress.count(record)
            except KeyboardInterrupt:
                if written.answers:
                    progress.remark(
                        f"Stopped. {written.path} holds {written.answers:,} answers for the same command to go on."
                    )
                raise
        with _replaced(place) as out:
            written.write(files, out)
        written.delete()
    return progress.failed


def _on_threads(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Judge all on this machine; how many failed."""
    options.jobs = options.jobs or _default_jobs()
    options.out = None if options.out is None else Path(options.out)
    files = find_all(options.sources)
    if options.out is not None and _is_source(options.out, files):
        parser.error(f"--out {printable(str(options.out))} is one of the recordings; name another file")
    resumes = options.format == "jsonl" and options.out is not None and _replaceable(options.out)
    return _resume(options, files) if resumes else _stream(options, files)


def _on_ray(options: argparse.Namespace) -> int:
    """Judge all by Ray Data; how many failed."""
    from ser_core import corpus

    corpus.require()  # before the model is loaded, which takes longer
    info = load(_model(options), precision=options.precision).info  # as each worker will, without model servers
    plan = corpus.Plan(
        info=info,
        model=corpus.for_workers(_model(options), info),
        precision=options.precision,
        jobs=options.jobs,
        fresh=options.fresh,
        quiet=options.quiet,
    )
    return corpus.run(options.sources, options.out, plan)


def _check(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """End with a usage error where options don't go together."""
    if options.engine == "ray":
        if options.format != PARQUET:
            parser.error(f"--engine ray writes --format {PARQUET}, not {options.format}")
        if options.out is None:
            parser.error("--engine ray needs --out DIR, a folder for its tables")
    elif options.format == PARQUET:
        parser.error(f"--format {PARQUET} needs --engine ray")


def run(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, judge, write; give the exit code. Wrong usage ends in SystemExit(2)."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    _check(options, parser)
    try:
        failed = _on_ray(options) if options.engine == "ray" else _on_threads(options, parser)
    except SerError as error:
        parser.exit(USAGE, f"{parser.prog}: error: {printable(str(error))}\n")
    except BrokenPipeError:
        raise
    except OSError as error:  # of the output: what is wrong with a recording comes as a SerError
        place = "standard output" if options.out is None else f"--out {printable(str(options.out))}"
        parser.error(f"{place} can't be written ({error.strerror or error})")
    return SOME_FAILED if failed else OK


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
    code = main()
    if code in (INTERRUPTED, BROKEN_PIPE):
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code)  # an orderly end would wait for the recordings that are just being judged
    sys.exit(code)
