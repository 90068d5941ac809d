"""Somebody who passes by while the page is busy, and asks from a process of their own: how soon it answers.

    python -m tests.load.passerby URL

The crowd's clients share one process, in which each waits for the others; what they measure is theirs as well.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx

from tests.plain_http import API, PATIENCE_S
from tests.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

EVERY_S = 0.5
BUSY = 503


def ask(url: str) -> None:
    """Ask again and again, with no recording, and print a line each time: the status, and seconds until it came."""
    with httpx.Client(timeout=PATIENCE_S) as client:
        while True:
            began = time.perf_counter()
            status = client.post(f"{url}{API}/call/predict", json={"data": [None]}).status_code
            print(json.dumps([status, time.perf_counter() - began]), flush=True)
            time.sleep(EVERY_S)


@contextlib.contextmanager
def passing(url: str) -> Iterator[list[tuple[int, float]]]:
    """Have somebody pass by for as long as the context lasts; gives what `ask` printed, once it is over."""
    command = [sys.executable, "-m", "tests.load.passerby", url]
    asked: list[tuple[int, float]] = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield asked
        finally:
            process.terminate()
            lines = process.communicate()[0].splitlines(keepends=True)
            asked += [json.loads(line) for line in lines if line.endswith("\n")]


def told(asked: list[tuple[int, float]]) -> dict[str, Any]:
    """How often the page was asked, how often it said that it is busy, and seconds until it did: median and slowest."""
    busy = [seconds for status, seconds in asked if status == BUSY]
    return {
        "asked": len(asked),
        "busy": len(busy),
        "median_s": statistics.median(busy) if busy else None,
        "slowest_s": max(busy, default=None),
    }


if __name__ == "__main__":
    ask(sys.argv[1])
