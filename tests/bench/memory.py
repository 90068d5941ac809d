"""How much memory a process holds, as Linux tells it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

IDLE_S = 1.0
"""Seconds in which a process that is done with its start takes next to no time of the processor."""
IDLE_SHARE = 0.05
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Memory:
    """Of a process, in bytes.

    Attributes:
        resident: now, with the files that it has mapped.
        peak: the most that it was.
    """

    resident: int
    peak: int


def of(pid: int) -> Memory:
    """The memory of a process. Raises OSError where there is no /proc, or no such process in it."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    entries = (line.partition(":") for line in lines)
    kilobytes = {key: int(value.split()[0]) for key, _, value in entries if value.endswith(" kB")}
    return Memory(resident=1024 * kilobytes["VmRSS"], peak=1024 * kilobytes["VmHWM"])


def await_idle(pid: int) -> None:
    """Wait until a process has nothing more to do, `PATIENCE_S` at most: a page warms up beside serving."""
    deadline = time.monotonic() + PATIENCE_S
    before = _busy_s(pid)
    while time.monotonic() < deadline:
        time.sleep(IDLE_S)
        now = _busy_s(pid)
        if now - before < IDLE_SHARE * IDLE_S:
            return
        before = now


def _busy_s(pid: int) -> float:
    """Seconds of the processor that it has taken so far, for itself and in the kernel."""
    # Its name comes second, in parentheses, and may hold anything.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
