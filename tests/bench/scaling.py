"""Measured curves of one machine -> what more visitors and more recordings cost, in docs/scaling.md.

    python -m tests.bench.scaling

The prose of that page is written by hand; what stands between its marks is written here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.bench.bars import megabytes, number
from tests.bench.command import FOLDER
from tests.bench.table import grid, stored
from train.report import fill

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.bench.bars import Found

PAGE = FOLDER.parent.parent / "docs" / "scaling.md"
CLUSTER = FOLDER / "cluster.json"
"""What `python -m tests.cluster` wrote."""

VISITORS = (10, 1_000, 100_000)
"""In an hour."""
RECORDINGS = (1_000_000, 100_000_000)
ASKED = 5
"""Recordings that a visitor asks about: assumed."""
PEAK = 3.0
"""How much more is asked in the busiest minutes than on the mean: assumed, as for a link that is passed on."""
FULL = 0.7
"""The share of the best throughput up to which waiting stays short: the usual bound for one queue, and assumed here."""
PAGE_CORES = 2
UPLOAD_BYTES = 4.0 * 48_000 * 2
"""Of a recording of 4 s, as a browser makes it: 16 bit, mono, 48 kHz, WAV."""
STORED_BYTES = 4.0 * 16_000 * 2
"""The same in an archive at 16 kHz."""
MACHINES = (2, 64, 1_024)
"""Cores."""


@dataclass(frozen=True)
class Machine:
    """What was measured of one.

    Attributes:
        cores: of it.
        answers_per_s: of the page, at the best point of the curve.
        clips_per_s: on the command line.
        resident: bytes of a page after 200 answers.
        on_cluster: how many of those clips Ray Data judges a second on the same cores, as a share; None where the trial
            wasn't run.
    """

    cores: int
    answers_per_s: float
    clips_per_s: float
    resident: float
    on_cluster: float | None

    @classmethod
    def of(cls, found: Found, cluster: Mapping[str, Any] | None) -> Machine:
        """From what the parts of the bench stored. Raises KeyError where one is missing."""
        return cls(
            cores=found["crowd"]["cores"],
            answers_per_s=max(point["answers_per_s"] for point in found["crowd"]["curve"]),
            clips_per_s=found["throughput"]["clips"]["clips_per_s"],
            resident=found["pages"]["memory"]["ours"]["after_answers"]["resident"],
            on_cluster=cluster["ray"]["of_one_machine"] if cluster else None,
        )


def pages_for(visitors: int, machine: Machine) -> int:
    """Pages of `PAGE_CORES` that so many visitors an hour need, at least one."""
    asked_per_s = PEAK * ASKED * visitors / 3600.0
    of_one = FULL * machine.answers_per_s * PAGE_CORES / machine.cores
    return max(1, -int(-asked_per_s // of_one))


def core_hours(recordings: int, machine: Machine) -> float:
    """Hours of one core for so many recordings by the command line."""
    return recordings / (machine.clips_per_s / machine.cores) / 3600.0


def one(machine: Machine, found: Found) -> str:
    """What was measured."""
    long = found["throughput"]["long"]
    rows = [
        (
            "answers a second of the page, recordings of 2 to 5 s, its visitors on the same cores",
            number(machine.answers_per_s),
        ),
        ("clips of 3 to 5 s a second by `python -m ser_core`, with its start", number(machine.clips_per_s)),
        (f"a recording of {long['seconds']} s with its timeline, in times real time", number(long["times_real_time"])),
        ("resident memory of a page after 200 answers", megabytes(machine.resident)),
    ]
    if machine.on_cluster is not None:
        rows.append(
            ("clips by Ray Data on the same cores, as a share of the command line's", f"{machine.on_cluster:.2f}")
        )
    crowd = found["crowd"]
    return f"Measured, on {machine.cores} cores of {crowd['cpu']} ([speed.md](speed.md) has the curves):\n\n" + grid(
        ("what", f"on {machine.cores} cores"), rows
    )


def visitors(machine: Machine) -> str:
    """What visitors cost."""
    rows = []
    for count in VISITORS:
        mean = ASKED * count / 3600.0
        pages = pages_for(count, machine)
        rows.append(
            (
                f"{count:,}",
                number(mean),
                number(PEAK * mean),
                f"{PAGE_CORES * pages:,}",
                f"{pages:,}",
                f"{pages * machine.resident / 1e9:,.1f} GB",
                f"{PEAK * mean * UPLOAD_BYTES * 8 / 1e6:,.1f} Mbit/s",
            )
        )
    head = ("visitors an hour", "answers a second", "busiest minutes", "cores", "pages", "memory", "uploads, busiest")
    busiest = FULL * machine.answers_per_s * PAGE_CORES / machine.cores
    return (
        f"Computed: each visitor asks about {ASKED} recordings of 4 s, the busiest minutes see {PEAK:g} times the "
        f"mean, and a page of {PAGE_CORES} cores is given {FULL:.0%} of what it can do ({number(busiest)} answers a "
        "second).\n\n" + grid(head, rows)
    )


def recordings(machine: Machine) -> str:
    """What archives cost."""
    rows = []
    for count in RECORDINGS:
        hours = core_hours(count, machine)
        slower = 1.0 if machine.on_cluster is None else 1.0 / machine.on_cluster
        rows.append(
            (
                f"{count:,}",
                f"{hours:,.0f}",
                f"{slower * hours:,.0f}",
                *(f"{_duration(slower * hours / cores)}" for cores in MACHINES),
                f"{count * STORED_BYTES / 1e12:,.2f} TB",
                f"{count * STORED_BYTES * 8 / (slower * hours / MACHINES[1] * 3600.0) / 1e9:,.2f} Gbit/s",
            )
        )
    head = (
        *("recordings of 4 s", "core hours", "by Ray Data"),
        *(f"on {cores:,} cores" for cores in MACHINES),
        *("sound at 16 kHz", f"read by {MACHINES[1]} cores"),
    )
    told = (
        "as many times longer by Ray Data as it took on the same two cores"
        if machine.on_cluster is not None
        else "by Ray Data as by the command line, since the trial beside it was not run"
    )
    return (
        f"Computed, from clips a second on {machine.cores} cores, {told}, as if cores were added without loss, which "
        "nothing here has measured:\n\n" + grid(head, rows)
    )


def _duration(hours: float) -> str:
    if hours < 1.0:
        return f"{60.0 * hours:,.0f} minutes"
    return f"{hours / 24.0:,.1f} days" if hours >= 48.0 else f"{hours:,.1f} hours"


def parts(found: Found, cluster: Mapping[str, Any] | None) -> dict[str, Callable[[], str]]:
    """What goes between the marks."""
    machine = Machine.of(found, cluster)
    return {
        "one": lambda: one(machine, found),
        "visitors": lambda: visitors(machine),
        "recordings": lambda: recordings(machine),
    }


def page() -> str:
    """docs/scaling.md, filled from what is stored."""
    cluster = json.loads(CLUSTER.read_text(encoding="utf-8")) if CLUSTER.is_file() else None
    return fill(PAGE.read_text(encoding="utf-8"), parts(stored(FOLDER), cluster))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
