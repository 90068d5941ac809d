"""Where recordings lie while they are answered, and that they don't stay there.

Gradio deletes what its components were given, but not what comes through its MCP server, and nothing at all after a
crash. So each page has a folder of its own, of which all that is old goes, and at the end the whole. Imported before
gradio, which reads the folder's name when it is imported.
"""

from __future__ import annotations

import logging
import os
import shutil
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

PREFIX, LOCK = "emotion-page-", ".lock"
"""Of the folders' names; and the file in each that is locked for as long as its page runs."""

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
        """Delete it with all that is in it."""
        self.lock.release()
        shutil.rmtree(self.path, ignore_errors=True)


def _delete_abandoned(folder: Path) -> None:
    """Delete another page's folder, unless the page still runs, or the folder is none of this user's."""
    lock = folder / LOCK
    own = getattr(os, "getuid", int)()
    try:
        # Without a lock in it, it is no page's, or one that is just being made.
        if folder.is_symlink() or folder.stat().st_uid != own or lock.lstat().st_uid != own:
            return
        with FileLock(lock, blocking=False):
            shutil.rmtree(folder, ignore_errors=True)
    except (OSError, Timeout):
        return


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
    kept = {*keep, str(folder / LOCK)}
    for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder before the folder
        try:
            if path.is_dir() and not path.is_symlink():
                if path.stat().st_mtime < limit:
                    path.rmdir()
            elif str(path) not in kept and path.lstat().st_mtime < limit:
                path.unlink()
        except OSError:  # not empty, or gone already
            continue


def sweep_regularly(
    folder: Path,
    keep: Collection[str],
    goes_on: Callable[[], bool],
    forget: Callable[[], None] = lambda: None,
    tick_s: float = 0.5,
) -> threading.Thread:
    """Sweep every `DELETE_EVERY_S` what is older than `DELETE_AFTER_S`, in the background, while `goes_on` says so.

    Args:
        folder: see `sweep`.
        keep: see `sweep`.
        goes_on: is asked at each tick.
        forget: lets go of what is old and held in memory; called at each tick.
        tick_s: seconds from one tick to the next.
    """

    def run() -> None:
        swept = time.monotonic()
        while goes_on():
            time.sleep(tick_s)
            try:
                forget()
                if time.monotonic() - swept >= DELETE_EVERY_S:
                    swept = time.monotonic()
                    sweep(folder, DELETE_AFTER_S, keep)
            except Exception:  # recordings must go the next time, whatever it was
                log.exception("Old recordings could not be deleted")

    thread = threading.Thread(target=run, name="sweep", daemon=True)
    thread.start()
    return thread


def needed(*paths: str) -> None:
    """Count a file's age anew, from now, since it is still needed; one that is gone already is left to its reader."""
    for path in paths:
        try:
            os.utime(path)
        except OSError:
            continue
