"""The journal of a run: what it has judged so far, beside the file that it is for, so that a stopped run can go on.

There is JSON on each line: the first says which model answers, each other one holds an answer and what its recording
looked like (size and time of change). It only ever grows, is written line by line, and belongs to one run at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from ser_core.errors import OutputError
from ser_core.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ser_core.files import File
    from ser_core.prediction import ModelInfo

SUFFIX = ".part"
_MARK = {"unfinished answers of": "python -m ser_core"}
_BEGINNING = json.dumps(_MARK).encode("ascii").removesuffix(b"}")
"""Of every journal; a file that begins otherwise belongs to somebody else."""


class Stamp(NamedTuple):
    """What tells a file that was changed from one that was not: bytes, and nanoseconds since 1970."""

    size: int
    mtime_ns: int


class _Place(NamedTuple):
    """Where in the journal the line of an answer begins, and what its recording looked like."""

    offset: int
    stamp: Stamp


def stamp(path: str) -> Stamp | None:
    """Of the file as it is now; None where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116  of a million files; a Path each would take as long as the question
    except (OSError, ValueError):
        return None
    return Stamp(status.st_size, status.st_mtime_ns)


@contextlib.contextmanager
def opened(out: Path) -> Iterator[Journal]:
    """The journal for `out`, held for this run alone; `Journal.begin` must follow.

    It stays behind, unless it holds no answers or `Journal.delete` was called.

    Raises:
        OutputError: another run holds it, or a file of its name is something else.
        OSError: the file can't be made or read.
    """
    path = out.with_name(out.name + SUFFIX)
    with _locked(path, out) as file:
        if not file.tell() and out.exists():  # as private as what it will replace
            path.chmod(out.stat().st_mode & 0o777 | 0o600)
        journal = Journal(path, file)
        try:
            yield journal
        finally:
            if not journal.answers:
                journal.delete()


class Journal:
    """The answers so far; made by `opened`.

    Attributes:
        path: where they are.
    """

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self._file = file
        self._places: dict[str, _Place] = {}
        self._failures: dict[str, Record] = {}
        self._made_by: dict[str, Any] = {}
        self._end = 0
        self._read()

    @property
    def answers(self) -> int:
        """How many there are."""
        return len(self._places)

    def begin(self, model: ModelInfo, *, fresh: bool = False) -> None:
        """Say who answers from now on.

        Args:
            model: the one that answers.
            fresh: forget what is there.

        Raises:
            OutputError: what is there is by another model, or by another version of this program.
        """
        now = made_by(model)
        if self.answers and not fresh:
            held = f"{self.path} holds the answers that a stopped run has for {self.answers:,} files"
            check_made_by(held, self._made_by, now)
            return
        self._places.clear()
        self._end = 0
        self._file.truncate(0)
        self._append({**_MARK, **now})

    def has(self, path: str) -> bool:
        """Whether it holds the answer for a file as that is now."""
        place = self._places.get(_key(path))
        return place is not None and place.stamp == stamp(path)

    def add(self, record: Record, seen: Stamp | None) -> None:
        """Write an answer down; a failure is only remembered, since the next run shall try again.

        Args:
            record: its `source` is the file's path.
            seen: the file's stamp from before it was judged; None where there was no file.
        """
        if record.prediction is None or seen is None:  # without a stamp nobody could tell later what was judged
            self._failures[record.source] = record
            return
        key = _key(record.source)
        offset = self._append({"path": key, **seen._asdict(), "answer": record.to_dict()})
        self._places[key] = _Place(offset, seen)

    def write(self, files: Iterable[File], out: IO[str]) -> None:
        """A line of JSON for each file, as `records.write_jsonl` has it; each was added, or `has` knew it."""
        for file in files:
            record = file if isinstance(file, Record) else self._failures.get(file)
            # Called as it is called now: the stopped run may have been given the same folder under another name.
            fields = record.to_dict() if record else {**self._answer(str(file)), "source": file}
            out.write(json.dumps(fields) + "\n")

    def delete(self) -> None:
        """Delete it, once all that is in it is elsewhere."""
        # While it is still held: a run that waits for this moment must not find its own file deleted.
        self.path.unlink(missing_ok=True)

    def _answer(self, path: str) -> dict[str, Any]:
        self._file.seek(self._places[_key(path)].offset)
        answer: dict[str, Any] = json.loads(self._file.readline())["answer"]
        return answer

    def _append(self, fields: dict[str, Any]) -> int:
        line = json.dumps(fields).encode("ascii") + b"\n"
        self._file.write(line)
        self._file.flush()
        offset, self._end = self._end, self._end + len(line)
        return offset

    def _read(self) -> None:
        """Find the answers in the file; what was not written whole is left out, and cut off where it is the end."""
        self._file.seek(0)
        if self._file.read(len(_BEGINNING)) not in (b"", _BEGINNING):
            raise OutputError(
                f"{self.path} is in the way, and nothing that a stopped run left. Move it elsewhere, or name another "
                "--out."
            )
        self._file.seek(0)
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            fields = _parsed(line)
            if self._end == 0:
                self._made_by = fields
            elif isinstance(fields.get("answer"), dict):
                with contextlib.suppress(KeyError, TypeError, ValueError):
                    seen = Stamp(int(fields["size"]), int(fields["mtime_ns"]))
                    self._places[str(fields["path"])] = _Place(self._end, seen)
            self._end += len(line)
        self._file.truncate(self._end)


def _parsed(line: bytes) -> dict[str, Any]:
    """The object on a line; {} where there is none."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


@contextlib.contextmanager
def _locked(path: Path, out: Path) -> Iterator[IO[bytes]]:
    """The file, made where there is none, and held; placed at its end."""
    while True:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise OutputError(f"{path} is in the way, and no ordinary file. Move it elsewhere, or name another --out.")
        with path.open("a+b") as file:
            if not hold(file.fileno()):
                raise OutputError(f"Another run is writing {out}. Wait until it ends, or name another --out.")
            # The run that held it may just have ended and deleted it.
            if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
                yield file
                return


def hold(descriptor: int) -> bool:
    """Whether an open file or folder is this process's alone from now on, until its descriptor is closed."""
    from filelock import lock_descriptor

    try:
        return lock_descriptor(descriptor, blocking=False)
    except OSError:  # some network file systems have no locks; better unguarded there than not at all
        return True


def _key(path: str) -> str:
    """Under what name an answer is written down: the same from whatever folder the command is given."""
    return os.path.abspath(path)  # noqa: PTH100  resolving a link would take it for the file that it points to


def made_by(model: ModelInfo) -> dict[str, Any]:
    """What answers depend on beside the recording: the model's `identity` as `model`, and this `program`."""
    return {"model": identity(model), "program": program()}


def check_made_by(held: str, then: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise OutputError where answers are of another model, or of another version of this program.

    Args:
        held: where they are and for how many files, in half a sentence.
        then: what they were made by, see `made_by`; {} where that is unknown.
        now: what would go on.
    """
    if then.get("model") != now["model"]:
        raise OutputError(
            f"{held}, by another model ({_told(then.get('model'))}) than the one that would go on "
            f"({_told(now['model'])}). Name that one with --model and --precision, or judge all anew with --fresh."
        )
    if then.get("program") != now["program"]:
        raise OutputError(
            f"{held}, made by another version of this program, which may answer otherwise. Judge all anew with --fresh."
        )


def identity(model: ModelInfo) -> dict[str, str | None]:
    """What makes it that model; the same one may come from the Hub first and from the cache the next time."""
    return {
        "name": model.name,
        "version": model.version,
        "revision": model.revision,
        "precision": model.precision,
    }


def _told(model: Any) -> str:
    """A model's identity for people."""
    if not isinstance(model, dict):
        return "unknown"
    told = f"{model.get('name')} {model.get('version')} {model.get('precision')}"
    return f"{told}, revision {str(model['revision'])[:7]}" if model.get("revision") else told


def program() -> str:
    """SHA-256 of this package's code, which nobody has to remember to count up."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
