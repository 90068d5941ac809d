"""What a worker of a cluster does: judges the files of a block, and gives their rows."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ser_core import journal, rows, sources
from ser_core.errors import AudioError, EngineError
from ser_core.recognizer import load
from ser_core.records import Record, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    import pyarrow as pa
    from pyarrow import fs

    from ser_core.journal import Stamp
    from ser_core.prediction import Precision
    from ser_core.sources import Item


def block(items: Iterable[Item]) -> pa.Table:
    """What goes through the cluster for files: their names and where they are, and no sound."""
    import pyarrow as pa

    chosen = list(items)
    return pa.table(
        {
            "source": pa.array([item.source for item in chosen], pa.string()),
            # Bytes: on Linux a path need not be text.
            "path": pa.array([os.fsencode(item.path) for item in chosen], pa.binary()),
            "filesystem": pa.array([item.filesystem for item in chosen], pa.int32()),
        }
    )


class Judge:
    """Judges blocks of files; an actor of Ray Data, so each loads the model once.

    Args:
        filesystems: that the files may be in.
        model: what it is loaded by, see `recognizer.load`.
        precision: of its weights; the model's own choice if None.
        made_by: what the answers must be made by, see `journal.made_by`.

    Raises:
        EngineError: this machine has another model, or another version of this program.
    """

    def __init__(
        self,
        filesystems: Sequence[fs.FileSystem],
        model: str | None,
        precision: Precision | None,
        made_by: dict[str, Any],
    ) -> None:
        self._filesystems = filesystems
        self._recognizer = load(model, precision=precision)
        if journal.made_by(self._recognizer.info) != made_by:
            raise EngineError("A machine of the cluster has another model, or another version of this program.")

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Judge the files of a `block`; give their rows, see `rows.schema`, in the same order."""
        with tempfile.TemporaryDirectory(prefix="ser_core-") as scratch:
            ready = _one_ahead(lambda file: self._ready(file, Path(scratch)), enumerate(batch.to_pylist()))
            return rows.table((self._judged(one) for one in ready), self._recognizer.info)

    def _ready(self, file: tuple[int, dict[str, Any]], scratch: Path) -> _Ready:
        """A file on this machine's disk."""
        number, fields = file
        path = os.fsdecode(fields["path"])
        if fields["filesystem"] is None:
            # First: what changes while it is judged must not pass for what was judged.
            return _Ready(fields["source"], path, journal.stamp(path))
        folder = scratch / str(number)
        folder.mkdir()
        try:
            copy, seen = sources.fetch(self._filesystems[fields["filesystem"]], path, folder, self._recognizer.limits)
        except AudioError as error:
            return _Ready(fields["source"], None, None, str(error))
        return _Ready(fields["source"], str(copy), seen, fetched=True)

    def _judged(self, file: _Ready) -> tuple[Record, Stamp | None]:
        if file.path is None:
            return Record(file.source, None, file.error), None
        try:
            return judge(self._recognizer, file.path, file.source), file.stamp
        finally:
            if file.fetched:
                Path(file.path).unlink()


class _Ready(NamedTuple):
    """A file to judge.

    Attributes:
        source: what its row calls it.
        path: on this machine; None where it could not be fetched.
        stamp: what it looked like before; None where there is none.
        error: why it could not be fetched.
        fetched: whether `path` is a copy.
    """

    source: str
    path: str | None
    stamp: Stamp | None
    error: str | None = None
    fetched: bool = False


def _one_ahead(work: Callable[[Any], _Ready], items: Iterable[Any]) -> Iterator[_Ready]:
    """`map`, where the next one is worked on while the last one is used: no more than two copies fill the disk."""
    with ThreadPoolExecutor(1, thread_name_prefix="fetch") as worker:
        coming: Future[_Ready] | None = None
        for item in items:
            previous, coming = coming, worker.submit(work, item)
            if previous is not None:
                yield previous.result()
        if coming is not None:
            yield coming.result()
