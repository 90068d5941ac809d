"""Where the recordings of a corpus lie: in folders of this machine, or under a URL that Arrow or fsspec reads."""

from __future__ import annotations

import os
import posixpath
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from ser_core import audio, files, journal
from ser_core.errors import AudioError, NoAudio, UnreadableAudio
from ser_core.journal import Stamp
from ser_core.records import Record
from ser_core.rows import text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pyarrow import fs

    from ser_core.config import Limits

_CHUNK = 1024 * 1024
"""Bytes that are copied at once."""
_LONGEST_NAME = 60
"""Characters of a file's name that a copy of it keeps: a disk takes 255 bytes, an object store a thousand."""


@dataclass(frozen=True)
class Place:
    """A file or a folder, wherever it is.

    Attributes:
        filesystem: that it is in; None for this machine's own.
        path: in that; absolute, on this machine.
        before, after: what makes a path in the filesystem a URL for people: without passwords, and without what says
            how to connect.
    """

    filesystem: fs.FileSystem | None
    path: str
    before: str = ""
    after: str = ""

    @classmethod
    def of(cls, source: str) -> Place:
        """What a path or a URL stands for.

        Raises:
            NoAudio: no filesystem is known for the URL, or it can't be connected to.
        """
        if not is_url(source):
            return cls(None, os.path.abspath(source))  # noqa: PTH100  resolving a link would give it another name
        filesystem, path = _connected(source)
        if filesystem.type_name == "local":
            return cls(None, path)
        scheme, _, rest = source.partition("://")
        chained = rest.partition("::")
        return cls(filesystem, path, "" if "://" in path else f"{scheme}://", "".join(chained[1:]))

    def named(self, path: str) -> str:
        """The URL of a path in its filesystem."""
        return f"{self.before}{path}{self.after}"

    def __str__(self) -> str:
        return self.named(self.path)


class Item(NamedTuple):
    """A file to judge.

    Attributes:
        source: what its row calls it: an absolute path or a URL, as text.
        path: in its filesystem.
        filesystem: which of `Corpus.filesystems` it is in; None for this machine's own.
        stamp: what it looked like when it was listed; None on this machine, where it can be asked at any time.
    """

    source: str
    path: str
    filesystem: int | None = None
    stamp: Stamp | None = None

    def seen(self) -> Stamp | None:
        """What it looks like, as far as is known without a network; None where there is no file."""
        return journal.stamp(self.path) if self.filesystem is None else self.stamp


@dataclass
class Corpus:
    """All that the sources stand for.

    Attributes:
        items: the files to judge, each once, in order.
        failures: what can't even be looked for.
        filesystems: that the items are in.
    """

    items: list[Item] = field(default_factory=list)
    failures: list[Record] = field(default_factory=list)
    filesystems: list[fs.FileSystem] = field(default_factory=list)


def is_url(source: str) -> bool:
    """Whether a URL is meant, and no file or folder of this machine, which may be called anything."""
    return "://" in source and not os.path.lexists(source)


def find_all(sources: Sequence[str]) -> Corpus:
    """What each source stands for, in order, by the rules of `files.find`; a file that comes again counts once.

    Raises:
        NoAudio: no filesystem is known for a URL.
    """
    corpus = Corpus()
    known: set[str] = set()
    for source in sources:
        place = Place.of(source)
        if place.filesystem is None:
            found: Iterator[Item | Record] = _local(place.path)
        else:
            corpus.filesystems.append(place.filesystem)
            found = _remote(place, place.filesystem, len(corpus.filesystems) - 1)
        for one in found:
            if one.source in known:
                continue
            known.add(one.source)
            if isinstance(one, Record):
                corpus.failures.append(one)
            else:
                corpus.items.append(one)
    return corpus


def _local(source: str) -> Iterator[Item | Record]:
    for found in files.find(source):
        yield Record(text(source), None, str(found)) if isinstance(found, NoAudio) else Item(text(found), found)


def _remote(place: Place, filesystem: fs.FileSystem, number: int) -> Iterator[Item | Record]:
    from pyarrow import fs

    try:
        if (info := filesystem.get_file_info(place.path)).type != fs.FileType.Directory:
            # Whatever is wrong with it is told where it is fetched.
            yield Item(str(place), place.path, number, _stamp(info))
            return
        infos = filesystem.get_file_info(fs.FileSelector(place.path, recursive=True))
    except OSError as error:
        yield Record(str(place), None, f"{place} can't be read ({reason(error)}). Check that you may open it.")
        return
    found = [info for info in infos if info.is_file and files.is_sound(info.base_name)]
    for info in sorted(found, key=lambda info: info.path.split("/")):
        yield Item(place.named(info.path), info.path, number, _stamp(info))
    if not found:
        yield Record(str(place), None, str(files.no_sound_in(place)))


def _stamp(info: fs.FileInfo) -> Stamp | None:
    """Of a file; some stores know no time of change, and are told apart by size alone."""
    return Stamp(info.size, info.mtime_ns or 0) if info.is_file and info.size is not None else None


# Fetching.


def fetch(filesystem: fs.FileSystem, path: str, folder: Path, limits: Limits) -> tuple[Path, Stamp]:
    """A copy of a file on this machine's disk, under its own name.

    Args:
        filesystem: where it is.
        path: in that.
        folder: for the copy; is there and empty.
        limits: what is accepted: a file that is too large isn't fetched.

    Returns:
        The copy, and what the file looked like before.

    Raises:
        AudioError: there is no such file, it is empty or too large, or can't be read.
    """
    name = posixpath.basename(path)[-_LONGEST_NAME:]
    shown = audio.shown(name) or "This"
    try:
        seen = _stamp(filesystem.get_file_info(path))
        if seen is None:
            raise audio.missing(shown)
        audio.check_size(shown, seen.size, limits)
        copy = folder / name
        with filesystem.open_input_stream(path, compression=None) as coming, copy.open("xb") as file:
            shutil.copyfileobj(coming, file, _CHUNK)
    except AudioError:
        raise
    except (OSError, ValueError) as error:
        raise UnreadableAudio(f"{shown} can't be fetched ({reason(error)}). Check that you may read it.") from error
    return copy, seen


# Filesystems.


def _connected(url: str) -> tuple[fs.FileSystem, str]:
    """The filesystem of a URL and the path in it: Arrow's own where it knows the scheme, else fsspec's."""
    import pyarrow as pa
    from pyarrow import fs

    try:
        if "::" not in url:  # which chains fsspec's filesystems
            return fs.FileSystem.from_uri(url)  # type: ignore[no-any-return]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        # What is wrong with a URL whose scheme Arrow knows is told best by Arrow.
        if isinstance(error, pa.ArrowInvalid) and "Unrecognized filesystem" not in str(error):
            raise _unusable(url, error) from error
    except OSError as error:
        raise _unusable(url, error) from error
    import fsspec

    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except (ImportError, OSError, ValueError) as error:
        raise _unusable(url, error) from error
    return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), path


def _unusable(url: str, error: Exception) -> NoAudio:
    parts = urlsplit(url)
    # Without the password that may stand before the host, or behind the question mark.
    place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    told = reason(error).replace(url, place)
    return NoAudio(f"{place} can't be opened ({told}). Give a path, or a URL that Arrow or fsspec reads.")


def reason(error: Exception) -> str:
    """What went wrong, as the system or the library tells it, on one line."""
    told = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(told).strip().splitlines()[0].rstrip(".")
