"""Fetch RAVDESS (Zenodo record 1188976) and unpack it into the layout that `python -m train prepare` reads.

Under the folder that is named, and nowhere else:

    Audio_Speech_Actors_01-24.zip                the archives; kept unless `--delete-archives` is given
    Audio_Speech_Actors_01-24.zip.part           what has arrived of one; a later run goes on from it
    Audio_Speech_Actors_01-24.zip.unpacked.json  the files that came out of it; a later run checks them and does nothing
    ravdess/speech/Actor_01/03-01-01-01-01-01-01.wav ...
    ravdess/song/Actor_01/03-02-01-01-01-01-01.wav ...
"""

from __future__ import annotations

import json
import shutil
import stat
import sys
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tqdm import tqdm

from train.fetch import (
    ATTEMPTS,
    Archive,
    BadArchive,
    ConnectionLost,
    DiskTrouble,
    DownloadError,
    ServerRefused,
    WrongChecksum,
    disk_trouble,
    fetch,
    has_archive,
    require_room,
    say,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = [
    "ARCHIVES",
    "ATTEMPTS",
    "BASE_URL",
    "Archive",
    "BadArchive",
    "ConnectionLost",
    "DiskTrouble",
    "DownloadError",
    "ServerRefused",
    "WrongChecksum",
    "add_arguments",
    "download",
    "run",
]

BASE_URL = "https://zenodo.org/records/1188976/files"
BLOCK_BYTES = 1 << 18

ARCHIVES: tuple[Archive, ...] = (
    Archive("Audio_Speech_Actors_01-24.zip", 208_468_073, "bc696df654c87fed845eb13823edef8a", "speech"),
    Archive("Audio_Song_Actors_01-24.zip", 225_505_317, "5411230427d67a21e18aa4d466e6d1b9", "song"),
)
"""Livingstone & Russo (2018), doi:10.5281/zenodo.1188976, CC BY-NC-SA 4.0; sizes and checksums are the record's."""


def download(
    to: Path,
    *,
    base_url: str = BASE_URL,
    archives: Sequence[Archive] = ARCHIVES,
    delete_archives: bool = False,
    retry_pause_s: float = 2.0,
) -> Path:
    """Fetch, check and unpack `archives` under `to`; does nothing for those that are already there whole.

    Args:
        to: folder, made where it is missing. Nothing is written outside it.
        base_url: http or https; `{base_url}/{name}?download=1` is fetched.
        archives: what to fetch.
        delete_archives: remove each archive once it is checked and unpacked.
        retry_pause_s: seconds before the second try; each further pause is twice as long, `ATTEMPTS` tries without
            progress are the end.

    Returns:
        The corpus's folder, `to / "ravdess"`.

    Raises:
        DownloadError: one of its children; the message says what to do.
    """
    for archive in archives:
        with disk_trouble(to):
            to.mkdir(parents=True, exist_ok=True)
            if _is_unpacked(archive, to):
                say(f"{archive.name} is already unpacked in {_folder(archive, to)}.")
            else:
                if not has_archive(archive, to):
                    fetch(archive, to, base_url, retry_pause_s)
                _unpack(archive, to)
            if delete_archives and (to / archive.name).exists():
                (to / archive.name).unlink()
                say(f"Deleted {to / archive.name}, as asked.")
    return to / "ravdess"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `python -m train download` to `parser`."""
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder for the archives and the corpus")
    parser.add_argument("--base-url", default=BASE_URL, metavar="URL", help="a mirror (default: %(default)s)")
    parser.add_argument("--delete-archives", action="store_true", help="remove each archive once it is unpacked")


def run(args: argparse.Namespace) -> int:
    """`python -m train download`: exit code 0; 1 with a message where something failed; 130 after Ctrl-C."""
    try:
        corpus = download(args.to, base_url=args.base_url, delete_archives=args.delete_archives)
    except DownloadError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"Stopped. What has arrived is kept in {args.to}; the same command goes on from there.", file=sys.stderr)
        return 130
    print(f"RAVDESS is complete in {corpus}.")
    return 0


def _folder(archive: Archive, to: Path) -> Path:
    return to / "ravdess" / archive.folder


def _record(archive: Archive, to: Path) -> Path:
    return to / f"{archive.name}.unpacked.json"


def _is_unpacked(archive: Archive, to: Path) -> bool:
    """Whether every file that came out of the archive is still there with its size."""
    try:
        record = json.loads(_record(archive, to).read_text(encoding="utf-8"))
        if record["md5"] != archive.md5:
            return False
        folder = _folder(archive, to)
        return all((folder / name).stat().st_size == size for name, size in record["files"].items())
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _unpack(archive: Archive, to: Path) -> None:
    """Unpack the checked archive, each file whole or not at all, and write down what came out."""
    folder = _folder(archive, to)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(to / archive.name) as zipped:
            members = _members(zipped, archive, folder)
            require_room(to, sum(info.file_size for info, _ in members))
            for info, target in tqdm(members, unit="file", desc=f"{archive.name}: unpacking", disable=None):
                target.parent.mkdir(parents=True, exist_ok=True)
                unfinished = target.with_name(f"{target.name}.part")
                with zipped.open(info) as source, unfinished.open("wb") as sink:
                    shutil.copyfileobj(source, sink, BLOCK_BYTES)
                unfinished.replace(target)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise BadArchive(
            f"{to / archive.name} can't be unpacked: {error}. Delete it and run the same command again."
        ) from error
    files = {info.filename: info.file_size for info, _ in members}
    text = json.dumps({"md5": archive.md5, "files": files}, indent=0)
    _record(archive, to).write_text(text + "\n", encoding="utf-8")
    say(f"{archive.name}: {len(files)} files in {folder}.")


def _members(zipped: zipfile.ZipFile, archive: Archive, folder: Path) -> list[tuple[zipfile.ZipInfo, Path]]:
    """The archive's files and where they go; all are looked at before the first is written."""
    members = []
    root = folder.resolve()
    for info in zipped.infolist():
        if info.is_dir():
            continue
        path = PurePosixPath(info.filename)
        target = (folder / path).resolve()
        is_link = stat.S_ISLNK(info.external_attr >> 16)
        if path.is_absolute() or ".." in path.parts or is_link or not target.is_relative_to(root):
            raise BadArchive(
                f"{archive.name} holds a file that would land outside {folder}: {info.filename!r}. Nothing of it was "
                "unpacked; this is not the record's archive."
            )
        members.append((info, target))
    return members
