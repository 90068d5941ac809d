"""Where recordings lie while they are answered, and that they don't stay there.

Gradio deletes what its components were given, but not what comes through its MCP server, and nothing at all after a
crash. So each page has a folder of its own, of which all that is old goes, and at the end the whole. Imported before
gradio, which reads the folder's name when it is imported.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import stat
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

VARIABLE = "GRADIO_TEMP_DIR"
"""Gradio's environment variable; the page makes its own folder in the one that it names."""

DELETE_EVERY_S, DELETE_AFTER_S = 60, 300
"""The notice promises "within minutes"."""

SENDING_S = 900.0
"""How long an upload may take, all of it; `page.guard` ends it then."""
COMING_S = SENDING_S + 60.0
"""The files of one that still comes in lie in the folder itself, and are let be for longer than that."""

PREFIX, LOCK = "emotion-page-", ".lock"
"""Of the folders' names; and the file in each that is locked for as long as its page runs."""

_BEING_MADE_S = 600
"""A folder that has no lock for as long isn't one that is just being made."""

_TRIES = 10

log = logging.getLogger("ser.app")


@dataclass(frozen=True)
class Folder:
    """A running page's own folder, which nobody else may look into."""

    path: Path
    lock: FileLock

    @classmethod
    def make(cls) -> Self:
        """Make it, in the folder that `VARIABLE` names or the system's for temporary files, and name it to Gradio.

        What pages left behind there that were killed is deleted.
        """
        named = os.environ.get(VARIABLE)
        base = Path(named or tempfile.gettempdir())
        base.mkdir(parents=True, exist_ok=True)
        for left in base.glob(f"{PREFIX}*"):
            _delete_abandoned(left)
        # Of a name that nobody can guess and so prepare, readable to this user alone.
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        lock = FileLock(path / LOCK)
        lock.acquire()
        os.environ[VARIABLE] = str(path)
        return cls(path, lock)

    def delete(self) -> None:
        """Delete it with all that is in it, and again where a thread that is still at work kept it from that."""
        self.lock.release()
        for _ in range(_TRIES):
            shutil.rmtree(self.path, ignore_errors=True)
            if not self.path.exists():
                break


def _delete_abandoned(folder: Path) -> None:
    """Delete another page's folder, unless the page still runs, or the folder is none of this user's."""
    lock = folder / LOCK
    own = getattr(os, "getuid", int)()
    try:
        made = folder.lstat()
        if not stat.S_ISDIR(made.st_mode) or made.st_uid != own:
            return
        if not lock.exists() and not _is_left(folder.name, made):
            return
        with FileLock(lock, blocking=False):
            shutil.rmtree(folder, ignore_errors=True)
    except (OSError, Timeout):
        return


def _is_left(name: str, made: os.stat_result) -> bool:
    """Whether a folder without a lock is a page's that lost it, not one that is just being made or somebody's own."""
    named = re.fullmatch(PREFIX + "[a-z0-9_]{8}", name)  # as `mkdtemp` does
    return bool(named) and stat.S_IMODE(made.st_mode) == 0o700 and time.time() - made.st_mtime > _BEING_MADE_S


def files_in(folder: Path) -> set[str]:
    """The paths of all files in a folder and below."""
    return {str(path) for path in folder.rglob("*") if path.is_file()}


def sweep(folder: Path, older_than_s: float, keep: Collection[str] = ()) -> None:
    """Delete the files in a folder and below that were last changed so long ago, and the folders that are left empty.

    Args:
        folder: the page's own.
        older_than_s: seconds.
        keep: paths that stay, the examples' say.
    """
    limit = time.time() - older_than_s
    coming = time.time() - max(older_than_s, COMING_S)
    kept = {*keep, str(folder / LOCK)}
    needed(str(folder / LOCK))  # so that nobody takes it for forgotten
    for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder before the folder
        try:
            if path.is_dir() and not path.is_symlink():
                if path.stat().st_mtime < limit:
                    path.rmdir()
            elif str(path) not in kept and path.lstat().st_mtime < (limit if path.parent != folder else coming):
                path.unlink()
        except OSError:  # not empty, or gone already
            continue


def sweep_regularly(
    folder: Path,
    keep: Collection[str],
    goes_on: Callable[[], bool],
    forget: Callable[[], None] = lambda: None,
    before: Callable[[], None] = lambda: None,
    tick_s: float = 0.5,
) -> threading.Thread:
    """Sweep every `DELETE_EVERY_S` what is older than `DELETE_AFTER_S`, in the background, while `goes_on` says so.

    Args:
        folder: see `sweep`.
        keep: see `sweep`.
        goes_on: is asked at each tick.
        forget: lets go of what is old and held in memory; called at each tick.
        before: called before each sweep.
        tick_s: seconds from one tick to the next.
    """

    def run() -> None:
        swept = time.monotonic()
        while goes_on():
            time.sleep(tick_s)
            _try(forget)
            if time.monotonic() - swept >= DELETE_EVERY_S:
                swept = time.monotonic()
                _try(before)
                _try(lambda: sweep(folder, DELETE_AFTER_S, keep))

    thread = threading.Thread(target=run, name="sweep", daemon=True)
    thread.start()
    return thread


def _try(act: Callable[[], None]) -> None:
    """Go on after whatever goes wrong: recordings must go then, or the next time."""
    try:
        act()
    except Exception:
        log.exception("Old recordings could not be deleted")


def needed(*paths: str) -> None:
    """Count a file's age anew, from now, since it is still needed; one that is gone already is left to its reader."""
    for path in paths:
        try:
            os.utime(path)
        except (OSError, ValueError):  # ValueError: no path at all
            continue
