"""Room on the disk for what visitors send. It is promised before any of it is written, so that those who come at the
same moment don't count on the same last gigabyte.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FREE_BYTES = 1024 * 1024 * 1024
"""So much of the disk stays free."""

FULL = "The server's disk is nearly full, so it takes no files now. Try again in some minutes."


class Room:
    """What is promised of one disk; safe from many threads.

    Attributes:
        promised: bytes, to all who are sending now.
    """

    def __init__(self) -> None:
        self.promised = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def of(self, size: int, folder: Path) -> Iterator[bool]:
        """Promise room for as long as the context lasts.

        What was written of it meanwhile is counted twice, as promised and as used: it errs toward refusing.

        Args:
            size: bytes, the most that will be written.
            folder: where; it need not exist yet.

        Yields:
            Whether there is so much; where there isn't, nothing is promised.
        """
        with self._lock:
            there_is = free(folder) - self.promised >= FREE_BYTES + size
            held = size if there_is else 0
            self.promised += held
        try:
            yield there_is
        finally:
            with self._lock:
                self.promised -= held


DISK = Room()
"""Of the disk that uploads and fetched files are written to."""


def free(folder: Path) -> int:
    """Bytes that are free where a folder is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
