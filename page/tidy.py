"""Where recordings lie while they are answered, and that they don't stay there.

Gradio deletes what its components were given, but not what comes through its MCP server, and nothing at all after a
crash. So the page has a folder of its own, of which all that is old goes, and at the end the whole. Imported before
gradio, which reads the folder's name when it is imported.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import gradio as gr

VARIABLE = "GRADIO_TEMP_DIR"
"""Gradio's environment variable; the page makes its own folder in the one that it names."""

DELETE_EVERY_S, DELETE_AFTER_S = 60, 300
"""The notice promises "within minutes"."""


def own_folder() -> Path:
    """Make this process's folder, which nobody else may look into, and name it to Gradio.

    What earlier processes left behind when they were killed is deleted.
    """
    user = getattr(os, "getuid", lambda: 0)()
    named = os.environ.get(VARIABLE)
    base = Path(named) if named else Path(tempfile.gettempdir(), f"emotion-in-a-voice-{user}")
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in base.glob("page-*"):
        if not _runs(left.name.removeprefix("page-")):
            shutil.rmtree(left, ignore_errors=True)
    folder = base / f"page-{os.getpid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    os.environ[VARIABLE] = str(folder)
    return folder


def _runs(pid: str) -> bool:
    """Whether another process has this number."""
    if not pid.isdigit() or int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def sweep(folder: Path, older_than_s: float, keep: Collection[str] = ()) -> None:
    """Delete the files in a folder and below that were last changed so long ago, and the folders that are left empty.

    Args:
        folder: the page's own.
        older_than_s: seconds.
        keep: paths that stay, the examples' say.
    """
    limit = time.time() - older_than_s
    for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder before the folder
        try:
            if path.is_dir() and not path.is_symlink():
                if path.stat().st_mtime < limit:
                    path.rmdir()
            elif str(path) not in keep and path.lstat().st_mtime < limit:
                path.unlink()
        except OSError:  # not empty, or gone already
            continue


def sweep_regularly(
    folder: Path, keep: Callable[[], Collection[str]], goes_on: Callable[[], bool], tick_s: float = 0.5
) -> threading.Thread:
    """Sweep every `DELETE_EVERY_S` what is older than `DELETE_AFTER_S`, in the background, while `goes_on` says so."""

    def run() -> None:
        swept = time.monotonic()
        while goes_on():
            time.sleep(tick_s)
            if time.monotonic() - swept >= DELETE_EVERY_S:
                sweep(folder, DELETE_AFTER_S, keep())
                swept = time.monotonic()

    thread = threading.Thread(target=run, name="sweep", daemon=True)
    thread.start()
    return thread


def examples_of(page: gr.Blocks) -> set[str]:
    """The files that the page itself needs."""
    return {path for block in page.blocks.values() for path in getattr(block, "keep_in_cache", ())}
