"""What a page's process holds: memory, open files, files on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.bench import memory


def held(pid: int, folder: Path) -> dict[str, Any]:
    """Memory in MB, now and at most, of the process alone; its open files; and the files in its folder.

    Raises:
        OSError: there is no /proc, or no such process in it.
    """
    found = memory.of(pid)
    return {
        "resident_mb": round(found.resident / 1e6, 1),
        "peak_mb": round(found.peak / 1e6, 1),
        "open_files": len(list(Path(f"/proc/{pid}/fd").iterdir())),
        "files": sum(path.is_file() for path in folder.rglob("*")),
        "threads": len(list(Path(f"/proc/{pid}/task").iterdir())),
    }
