"""Stored figures of the fuzz, the crowd and the soak -> docs/reliability.md. Nothing there is typed by hand.

python -m tests.load.table
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

OUT = ROOT / "docs" / "reliability.md"
INTRODUCTION = """# Reliability

<!-- Written by `python -m tests.load.table` from the JSON in tests/fuzz and tests/load. Not edited by hand. -->

What was thrown at the decoders and at the page, and what came of it. `make fuzz`, `make load` and `make soak` do it
again and write this page; small forms of all three run in CI. What the page defends against, and how, is told in
[security.md](security.md)."""


def fuzz(found: Mapping[str, Any]) -> str:
    """Files and arrays that no honest person sends."""
    refused = sum(found["refused"].values())
    rows = {
        "tried": f"{found['tried']:,}",
        "answered": f"{found['answered']:,}",
        "refused with a message": f"{refused:,} (" + ", ".join(f"{k} {n:,}" for k, n in found["refused"].items()) + ")",
        "lost": str(found["lost"]),
        "slowest": f"{found['slowest_s']:.2f} s ({found['slowest']}; allowed are {found['most_s']:.0f})",
        "most memory over the idle process": f"{found['peak_mb']} MB ({found['largest']}; allowed are "
        f"{found['most_mb']:.0f})",
    }
    return (
        "Mutated, truncated and lying files of every format, bombs, arrays of nonsense, each through the door that "
        "uploads take, in a process that is watched.\n\n" + _rows(rows)
    )


def crowd(found: Mapping[str, Any]) -> str:
    """Many at once."""
    busy = f"{found['busy']:,}"
    if found["busy"]:
        busy += f", told {_within(found['told_busy_within_s'], found['told_busy_median_s'])}"
    rows = {
        "visitors, and requests of each": f"{found['visitors']}, {found['requests'] // found['visitors']}",
        "answered as one alone is": f"{found['answered']:,}",
        "refused as one alone is": f"{found['refused']:,}",
        "told to try again, and did": busy,
        "told so who passed by with one small request": _passerby(found["passerby"]),
        "gave up after ten minutes": str(found["gave_up"]),
        "wrong, or somebody else's": str(found["wrong"]),
        "failed": str(found["failed"]),
        "answers a second": f"{found['answers_per_s']:.1f}",
        "an answer takes, from first asking on": f"{found['median_s']:.2f} s (median), {found['p95_s']:.2f} s (p95), "
        f"{found['slowest_s']:.2f} s at most",
    }
    return (
        f"Recordings of 1.5 to 14 s in eight formats, and broken ones, at a page that computes {found['at_once']} "
        f"answers at a time and lets {found['waiting']} visitors wait. The visitors sit on the same machine and take "
        "their part of its processor; they share one process, in which each waits for the others, and each sends its "
        "recording before it asks. Who passes by has a process of their own, and sends none.\n\n" + _rows(rows)
    )


def _passerby(found: Mapping[str, Any]) -> str:
    told = f"{found['busy']:,} of {found['asked']:,}"
    return f"{told}, {_within(found['slowest_s'], found['median_s'])}" if found["busy"] else told


def _within(slowest_s: float, median_s: float) -> str:
    return f"within {slowest_s:.2f} s (median {median_s:.2f})"


def soak(found: Mapping[str, Any]) -> str:
    """Again and again."""
    last, rest = found["steps"][-1], found["at_rest"]
    columns = ("resident_mb", "open_files", "threads", "files")
    lines = ["| | resident memory | open files | threads | files on disk |", "| --- | --- | --- | --- | --- |"]
    for name, step in (
        ("before the first", found["begun"]),
        ("when every file was sent once", found["steps"][0]),
        ("half-way", found["steps"][len(found["steps"]) // 2]),
        (f"after {found['requests']:,}", last),
        (f"{found['rest_s']:.0f} s later", rest),
    ):
        cells = [f"{step[column]:.0f} MB" if column == "resident_mb" else str(step[column]) for column in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return (
        f"{found['requests']:,} requests in a row: {found['answered']:,} answered, {found['refused']:,} refused as "
        f"they should be, {found['wrong']} wrong, {found['failed']} failed. Memory grew by "
        f"{100 * found['growth_of_second_half']:.1f} % over the second half. In this run recordings were deleted "
        f"{found['deleted_after_s']} s after they were last needed, else it is five minutes.\n\n" + "\n".join(lines)
    )


PARTS: dict[str, tuple[Path, Callable[[Mapping[str, Any]], str]]] = {
    "Broken and hostile files": (ROOT / "tests" / "fuzz" / "fuzz.json", fuzz),
    "A crowd": (ROOT / "tests" / "load" / "crowd.json", crowd),
    "Again and again": (ROOT / "tests" / "load" / "soak.json", soak),
}


def page() -> str:
    """All of docs/reliability.md, as far as its parts have been measured."""
    sections = [INTRODUCTION]
    for title, (path, make) in PARTS.items():
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            where = f"`{found['command']}`, on {found['cpu']}, {found['cores']} cores."
            sections += [f"## {title}", make(found), where]
    return "\n\n".join(sections) + "\n"


def _rows(rows: Mapping[str, str]) -> str:
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())])


if __name__ == "__main__":
    OUT.write_text(page(), encoding="utf-8")
    print(OUT)
