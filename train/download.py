"""Fetch RAVDESS (Zenodo record 1188976) and unpack it into the layout that `python -m train prepare` reads.

Under the folder that is named, and nowhere else:

    Audio_Speech_Actors_01-24.zip                the archives; kept unless `--delete-archives` is given
    Audio_Speech_Actors_01-24.zip.part           what has arrived of one; a later run goes on from it
    Audio_Speech_Actors_01-24.zip.unpacked.json  the files that came out of it; a later run checks them and does nothing
    ravdess/speech/Actor_01/03-01-01-01-01-01-01.wav ...
    ravdess/song/Actor_01/03-02-01-01-01-01-01.wav ...
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import stat
import sys
import time
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NoReturn

import httpx
from tqdm import tqdm

from ser_core.errors import SerError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

BASE_URL = "https://zenodo.org/records/1188976/files"
BLOCK_BYTES = 1 << 18
ATTEMPTS = 5
TIMEOUT_S = 30.0
LONGEST_PAUSE_S = 60.0


@dataclass(frozen=True)
class Archive:
    """One file of the record.

    Attributes:
        name: its file name, in the record and on disk.
        size: bytes.
        md5: hex digest, as the record states it.
        folder: where under `ravdess/` it is unpacked.
    """

    name: str
    size: int
    md5: str
    folder: str


ARCHIVES: tuple[Archive, ...] = (
    Archive("Audio_Speech_Actors_01-24.zip", 208_468_073, "bc696df654c87fed845eb13823edef8a", "speech"),
    Archive("Audio_Song_Actors_01-24.zip", 225_505_317, "5411230427d67a21e18aa4d466e6d1b9", "song"),
)
"""Livingstone & Russo (2018), doi:10.5281/zenodo.1188976, CC BY-NC-SA 4.0; sizes and checksums are the record's."""


class DownloadError(SerError):
    """The data could not be fetched or unpacked; its children say why."""


class ConnectionLost(DownloadError):
    """The server can't be reached, or keeps hanging up before the end. What arrived is kept."""


class ServerRefused(DownloadError):
    """The server answers, but not with the file: an HTTP error, or a file of another size."""


class WrongChecksum(DownloadError):
    """The file arrived whole and is not the one that the record describes."""


class BadArchive(DownloadError):
    """The archive can't be unpacked, or would write outside its folder."""


class DiskTrouble(DownloadError):
    """The folder can't be written to, or has no room."""


class _Interrupted(Exception):
    """One try ended early; `pause_s` is how long the server asked us to wait, in seconds."""

    def __init__(self, failure: DownloadError, pause_s: float = 0.0) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.pause_s = pause_s


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
        with _disk_trouble(to):
            to.mkdir(parents=True, exist_ok=True)
            if _is_unpacked(archive, to):
                _say(f"{archive.name} is already unpacked in {_folder(archive, to)}.")
            else:
                if not _has_archive(archive, to):
                    _fetch(archive, to, base_url, retry_pause_s)
                _unpack(archive, to)
            if delete_archives and (to / archive.name).exists():
                (to / archive.name).unlink()
                _say(f"Deleted {to / archive.name}, as asked.")
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


def _say(message: str) -> None:
    tqdm.write(message, file=sys.stdout)


def _folder(archive: Archive, to: Path) -> Path:
    return to / "ravdess" / archive.folder


def _part(archive: Archive, to: Path) -> Path:
    return to / f"{archive.name}.part"


def _record(archive: Archive, to: Path) -> Path:
    return to / f"{archive.name}.unpacked.json"


@contextmanager
def _disk_trouble(to: Path) -> Iterator[None]:
    """Turn the system's errors about files into a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise _no_room(to, None) from error
        where = error.filename or to
        raise DiskTrouble(
            f"{where} can't be used: {error.strerror or error}. Choose a folder that you may write to with --to."
        ) from error


def _no_room(to: Path, needed: int | None) -> DiskTrouble:
    amount = f"{_megabytes(needed)} are needed" if needed else "the disk is full"
    return DiskTrouble(
        f"There is no room in {to}: {amount}. Free some space, or choose another folder with --to; "
        "what has arrived is kept, and the same command goes on from there."
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _require_room(to: Path, needed: int) -> None:
    if shutil.disk_usage(to).free < needed:
        raise _no_room(to, needed)


def _matches(path: Path, archive: Archive) -> bool:
    if path.stat().st_size != archive.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == archive.md5


def _has_archive(archive: Archive, to: Path) -> bool:
    path = to / archive.name
    if not path.exists():
        return False
    if _matches(path, archive):
        return True
    _say(f"{path} is not the record's file (its size or MD5 differs); it is fetched again.")
    return False


# --- fetching -------------------------------------------------------------------------------------------------------


def _fetch(archive: Archive, to: Path, base_url: str, retry_pause_s: float) -> None:
    """Bring the archive to `to / archive.name`, whole and checked, going on from a part where there is one."""
    part = _part(archive, to)
    url = f"{base_url.rstrip('/')}/{archive.name}?download=1"
    resumed = part.exists()
    _transfer(archive, part, url, retry_pause_s)
    if not _matches(part, archive) and resumed:
        # The part of an earlier run may be of another file or damaged: only a whole fresh one tells.
        _say(f"{part.name} went on from a damaged part; fetching it again from the start.")
        part.unlink()
        _transfer(archive, part, url, retry_pause_s)
    if not _matches(part, archive):
        part.unlink()
        raise WrongChecksum(
            f"{archive.name} from {base_url} is not the file that the record describes: its MD5 is not {archive.md5}. "
            "It was deleted; try again later, or fetch the file by hand from https://doi.org/10.5281/zenodo.1188976 "
            f"into {to}."
        )
    part.replace(to / archive.name)


def _transfer(archive: Archive, part: Path, url: str, retry_pause_s: float) -> None:
    """Fill `part` up to `archive.size` bytes, in as many tries as bring something."""
    failures = 0
    with (
        httpx.Client(follow_redirects=True, timeout=TIMEOUT_S, headers={"Accept-Encoding": "identity"}) as client,
        tqdm(total=archive.size, unit="B", unit_scale=True, desc=archive.name, disable=None) as bar,
    ):
        while (have := _arrived(part, archive)) < archive.size:
            bar.n = have
            bar.refresh()
            try:
                _transfer_once(client, archive, part, url, have, bar)
            except _Interrupted as interrupted:
                failures = 0 if _arrived(part, archive) > have else failures + 1
                if failures >= ATTEMPTS:
                    raise interrupted.failure from interrupted
                time.sleep(max(interrupted.pause_s, retry_pause_s * 2 ** max(failures - 1, 0)))


def _arrived(part: Path, archive: Archive) -> int:
    """Bytes of the part; one that is longer than the whole can't be a part and is dropped."""
    if not part.exists():
        return 0
    if (size := part.stat().st_size) <= archive.size:
        return size
    _say(f"{part.name} is longer than the file; fetching it again from the start.")
    part.unlink()
    return 0


def _transfer_once(
    client: httpx.Client, archive: Archive, part: Path, url: str, have: int, bar: tqdm[NoReturn]
) -> None:
    """One request. Raises _Interrupted where another try may help, DownloadError where it won't."""
    _require_room(part.parent, archive.size - have)
    headers = {"Range": f"bytes={have}-"} if have else {}
    try:
        with client.stream("GET", url, headers=headers) as response:
            if not _goes_on(response, archive, part, url, have):
                have = 0
                bar.reset(total=archive.size)
            with part.open("ab" if have else "wb") as file:
                # Without a chunk size, which would hold back, and on a cut lose, what has not filled a chunk.
                for block in response.iter_raw():
                    if (have := have + len(block)) > archive.size:
                        raise _wrong_size(archive, url, "more bytes")
                    file.write(block)
                    file.flush()
                    bar.update(len(block))
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise ServerRefused(f"{url} is not an http or https address: {error}. Check --base-url.") from error
    except httpx.TooManyRedirects as error:
        raise ServerRefused(f"{url} redirects without end. Check --base-url, or try again later.") from error
    except httpx.TransportError as error:
        raise _Interrupted(_lost(archive, part, url, str(error) or type(error).__name__)) from error
    if have < archive.size:
        raise _Interrupted(_lost(archive, part, url, "the server hung up"))


def _goes_on(response: httpx.Response, archive: Archive, part: Path, url: str, have: int) -> bool:
    """Whether the answer is the rest from byte `have` on (True) or the whole file (False)."""
    if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and have:
        # The server's file ends before our part does, so our part is none of it.
        part.unlink()
        raise _Interrupted(_wrong_size(archive, url, "fewer bytes"))
    if response.status_code >= httpx.codes.BAD_REQUEST:
        refusal = ServerRefused(
            f"The server answered {response.status_code} {response.reason_phrase} for {url}. Try again later, or fetch "
            f"the file by hand from https://doi.org/10.5281/zenodo.1188976 into {part.parent}."
        )
        if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR or response.status_code in {408, 425, 429}:
            raise _Interrupted(refusal, _asked_pause_s(response))
        raise refusal
    if response.status_code == httpx.codes.PARTIAL_CONTENT:
        if response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            return True
        part.unlink(missing_ok=True)
        raise _Interrupted(_wrong_size(archive, url, "another range"))
    length = response.headers.get("Content-Length")
    if response.status_code != httpx.codes.OK or (length is not None and length != str(archive.size)):
        raise _wrong_size(archive, url, f"{length} bytes")
    return False


def _asked_pause_s(response: httpx.Response) -> float:
    asked = response.headers.get("Retry-After", "")
    return min(float(asked), LONGEST_PAUSE_S) if asked.isdecimal() else 0.0


def _wrong_size(archive: Archive, url: str, found: str) -> ServerRefused:
    return ServerRefused(
        f"{url} is not the file that the record describes: {archive.size} bytes were expected, the server offers "
        f"{found}. Check --base-url, or try again later."
    )


def _lost(archive: Archive, part: Path, url: str, reason: str) -> ConnectionLost:
    arrived = part.stat().st_size if part.exists() else 0
    kept = f"; the {_megabytes(arrived)} that have arrived are kept" if arrived else ""
    return ConnectionLost(
        f"{archive.name} can't be fetched from {url}: {reason}. Check the network connection and run the same command "
        f"again{kept}."
    )


# --- unpacking ------------------------------------------------------------------------------------------------------


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
            _require_room(to, sum(info.file_size for info, _ in members))
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
    _say(f"{archive.name}: {len(files)} files in {folder}.")


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
