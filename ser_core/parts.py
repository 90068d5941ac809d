"""The answers for a corpus: Parquet files in one folder, each written whole or not at all, which the next run reads.

They are the checkpoint, too. Ray Data's own (`ray.data.checkpoint`, 2.60) keeps a second list of the rows that it
wrote, by one column of theirs: what failed counts as done there, a recording that was changed is not judged again,
another model's rows pass for this one's, and the list and the rows can come to differ. The rows themselves tell all.

A folder holds no two rows of one source: what shall be judged again is taken out first.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ser_core import journal
from ser_core.errors import OutputError
from ser_core.files import in_order
from ser_core.journal import Stamp
from ser_core.rows import schema

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import pyarrow as pa
    from pyarrow import fs

    from ser_core.prediction import ModelInfo
    from ser_core.sources import Place

_NAME = re.compile(r"ser_core-[0-9a-f]{32}-\d{6,}\.parquet")
_SCRATCH = re.compile(r"\.ser_core-[0-9a-f]{32}\.tmp")
_MADE_BY = b"ser_core"
"""Key in a file's metadata: which model and program its rows are by. A file without it is somebody else's."""
_END = b"PAR1"
_READERS = 16
"""Files that are read at once; an object store answers each after some hundredths of a second."""


class Row(NamedTuple):
    """What is known of a source.

    Attributes:
        part: the file that its row is in.
        position: which row of that, from 0.
        stamp: what the recording looked like when it was judged; None where there was none.
        error: why it could not be judged; None where it was.
    """

    part: str
    position: int
    stamp: Stamp | None
    error: str | None


class _Footer(NamedTuple):
    """Of a part: what it is made by, {} where it is somebody else's, and how many rows it has."""

    made_by: dict[str, Any]
    rows: int


class Folder(NamedTuple):
    """Where parts are written; goes to every worker.

    Attributes:
        filesystem: that it is in.
        path: in that.
        made_by: see `journal.made_by`.
    """

    filesystem: fs.FileSystem
    path: str
    made_by: dict[str, Any]

    def at(self, name: str) -> str:
        """The path of a file in it."""
        return f"{self.path.rstrip('/')}/{name}"

    def write(self, name: str, table: pa.Table) -> None:
        """Write a part; one of its name is replaced.

        Args:
            name: see `part_name`.
            table: of `rows.schema`.

        Raises:
            OSError: it can't be written.
        """
        from pyarrow import parquet

        described = table.replace_schema_metadata({_MADE_BY: json.dumps(self.made_by)})
        # An object appears in its store when it is complete. On a disk a file grows, and a killed run would leave a
        # part of one; and where a machine was thought dead, two might write the same one.
        local = self.filesystem.type_name == "local"
        place = self.at(f".ser_core-{uuid.uuid4().hex}.tmp" if local else name)
        parquet.write_table(described, place, filesystem=self.filesystem, compression="zstd")
        if local:
            self.filesystem.move(place, self.at(name))


def part_name(run: str, number: int) -> str:
    """The name of a part: the same again where it has to be written again.

    Args:
        run: 32 hex digits that no other run has.
        number: which of its parts.
    """
    return f"ser_core-{run}-{number:06d}.parquet"


@contextlib.contextmanager
def opened(place: Place, model: ModelInfo) -> Iterator[Parts]:
    """The folder for the answers, made where there is none; on a disk it is held for this run alone.

    Raises:
        OutputError: another run holds it, or it is none.
        OSError: it can't be made or read.
    """
    from pyarrow import fs

    filesystem, path = place.filesystem or fs.LocalFileSystem(), place.path
    if filesystem.get_file_info(path).type == fs.FileType.File:
        raise OutputError(f"{place} is a file. Name a folder for --out.")
    with contextlib.ExitStack() as held:
        if place.filesystem is None:
            Path(path).mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDONLY)
            held.callback(os.close, descriptor)
            if not journal.hold(descriptor):
                raise OutputError(f"Another run is writing {place}. Wait until it ends, or name another --out.")
        else:
            filesystem.create_dir(path)  # tells at once whether anything may be written there
        yield Parts(place, Folder(filesystem, path, journal.made_by(model)))


class Parts:
    """The answers that are there; made by `opened`.

    Attributes:
        folder: where they are.
    """

    def __init__(self, place: Place, folder: Folder) -> None:
        self.folder = folder
        self._place = place

    def begin(self, *, fresh: bool = False) -> None:
        """Take away what a killed run left unfinished; files that are none of ours stay.

        Args:
            fresh: take away all answers, too.

        Raises:
            OutputError: what is there is by another model, or by another version of this program.
        """
        for path in self._paths(_SCRATCH):
            self._delete(path)
        footers = self._footers()
        if fresh:
            for path in footers:
                self._delete(path)
            return
        held = f"{self._place} holds the answers for {sum(one.rows for one in footers.values()):,} files"
        for one in footers.values():
            journal.check_made_by(held, one.made_by, self.folder.made_by)

    def rows(self) -> dict[str, Row]:
        """The row of each source. Where two runs wrote one, the earlier is taken away."""
        found: dict[str, Row] = {}
        twice: dict[str, set[int]] = {}
        for rows in in_order(self._read, self._footers(), _READERS):
            for source, row in rows:
                if before := found.get(source):
                    twice.setdefault(before.part, set()).add(before.position)
                found[source] = row
        if not twice:
            return found
        self._drop(twice)
        return self.rows()  # the rows behind those that went have moved up

    def drop(self, rows: Collection[Row]) -> None:
        """Take rows out; what `rows` told of others in the same files holds no longer."""
        gone: dict[str, set[int]] = {}
        for row in rows:
            gone.setdefault(row.part, set()).add(row.position)
        self._drop(gone)

    def _drop(self, gone: dict[str, set[int]]) -> None:
        from pyarrow import parquet

        for name, indices in gone.items():
            path = self.folder.at(name)
            table = parquet.read_table(path, filesystem=self.folder.filesystem, schema=schema(), partitioning=None)
            left = [index for index in range(len(table)) if index not in indices]
            if left:
                self.folder.write(name, table.take(left))
            else:
                self._delete(path)

    def _paths(self, names: re.Pattern[str]) -> list[str]:
        from pyarrow import fs

        infos = self.folder.filesystem.get_file_info(fs.FileSelector(self.folder.path, allow_not_found=True))
        # By the time of change: of two rows the one that was written last counts.
        found = [info for info in infos if info.is_file and names.fullmatch(info.base_name)]
        return [info.path for info in sorted(found, key=lambda info: (info.mtime_ns or 0, info.path))]

    def _footers(self) -> dict[str, _Footer]:
        """Of each part, the oldest first; those that were not written whole are taken away."""
        paths = self._paths(_NAME)
        found: dict[str, _Footer] = {}
        for path, footer in zip(paths, in_order(self._footer, paths, _READERS), strict=True):
            if footer is None:
                self._delete(path)
            elif footer.made_by:
                found[path] = footer
        return found

    def _footer(self, path: str) -> _Footer | None:
        """The end of a file; None where it was not written whole."""
        import pyarrow as pa
        from pyarrow import parquet

        try:
            metadata = parquet.read_metadata(path, filesystem=self.folder.filesystem)
        except pa.ArrowInvalid as error:
            if self._is_torn(path):
                return None
            raise OutputError(
                f"{self._place} holds {path.rpartition('/')[2]}, which can't be read ({error})."
            ) from error
        try:
            made_by = json.loads((metadata.metadata or {}).get(_MADE_BY, b"{}"))
        except ValueError:
            made_by = {}
        return _Footer(made_by if isinstance(made_by, dict) else {}, metadata.num_rows)

    def _is_torn(self, path: str) -> bool:
        """Whether what every Parquet file ends in, and is written last, isn't there."""
        with self.folder.filesystem.open_input_file(path) as file:
            if file.size() <= 2 * len(_END):  # they begin with the same
                return True
            file.seek(file.size() - len(_END))
            return bool(file.read() != _END)

    def _read(self, path: str) -> list[tuple[str, Row]]:
        import pyarrow as pa
        from pyarrow import parquet

        columns = ["source", "size_bytes", "mtime", "error"]
        table = parquet.read_table(path, filesystem=self.folder.filesystem, columns=columns, partitioning=None)
        times = table["mtime"].cast(pa.int64()).to_pylist()
        name = path.rpartition("/")[2]
        sources, sizes, errors = (table[column].to_pylist() for column in ("source", "size_bytes", "error"))
        return [
            (source, Row(name, index, None if size is None or time is None else Stamp(size, time), error))
            for index, (source, size, time, error) in enumerate(zip(sources, sizes, times, errors, strict=True))
        ]

    def _delete(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.folder.filesystem.delete_file(path)
