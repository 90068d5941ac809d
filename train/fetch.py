"""One file over HTTP, whole and checked: goes on from what has arrived, waits out what passes, says what doesn't."""

from __future__ import annotations

import errno
import hashlib
import shutil
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import httpx
from tqdm import tqdm

from ser_core.errors import SerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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


def fetch(archive: Archive, to: Path, base_url: str, retry_pause_s: float) -> None:
    """Bring the archive to `to / archive.name`, whole and checked, going on from a part where there is one."""
    part = _part(archive, to)
    url = f"{base_url.rstrip('/')}/{archive.name}?download=1"
    resumed = part.exists()
    _transfer(archive, part, url, retry_pause_s)
    if not _matches(part, archive) and resumed:
        # The part of an earlier run may be of another file or damaged: only a whole fresh one tells.
        say(f"{part.name} went on from a damaged part; fetching it again from the start.")
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
    say(f"{part.name} is longer than the file; fetching it again from the start.")
    part.unlink()
    return 0


def _transfer_once(
    client: httpx.Client, archive: Archive, part: Path, url: str, have: int, bar: tqdm[NoReturn]
) -> None:
    """One request. Raises _Interrupted where another try may help, DownloadError where it won't."""
    require_room(part.parent, archive.size - have)
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


def _matches(path: Path, archive: Archive) -> bool:
    if path.stat().st_size != archive.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == archive.md5


def has_archive(archive: Archive, to: Path) -> bool:
    """Whether `to / archive.name` is the record's file; says so where something else lies there."""
    path = to / archive.name
    if not path.exists():
        return False
    if _matches(path, archive):
        return True
    say(f"{path} is not the record's file (its size or MD5 differs); it is fetched again.")
    return False


def _part(archive: Archive, to: Path) -> Path:
    return to / f"{archive.name}.part"


@contextmanager
def disk_trouble(to: Path) -> Iterator[None]:
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


def require_room(to: Path, needed: int) -> None:
    """Raise DiskTrouble where the disk of `to` has fewer than `needed` bytes left."""
    if shutil.disk_usage(to).free < needed:
        raise _no_room(to, needed)


def say(message: str) -> None:
    """Print a line without breaking a progress bar."""
    tqdm.write(message, file=sys.stdout)
