"""Many cases, judged one after the other, and what came of them in figures."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings

from tests.fuzz import bombs
from tests.fuzz.cases import Case, cases, file_case

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fuzz.judge import Judge, Verdict

MOST_S, MOST_MB = 5.0, 400.0
"""For one case, and over the idle process."""


@dataclass
class Tally:
    """What came of the cases so far.

    Attributes:
        tried, answered: cases.
        refused: by class of error.
        faults: lost, slow or large ones: kind, what it was, and its file where `keep` names a folder.
        slowest_s, slowest: the longest case, and its kind.
        peak_mb, largest: the most memory over the idle process, and its kind.
    """

    tried: int = 0
    answered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    faults: list[dict[str, Any]] = field(default_factory=list)
    lost: int = 0
    slowest_s: float = 0.0
    slowest: str = ""
    peak_mb: float = 0.0
    largest: str = ""

    def add(self, kind: str, verdict: Verdict, most_s: float) -> list[str]:
        """Count one; what is wrong with it."""
        self.tried += 1
        wrong = []
        if verdict.outcome == "answered":
            self.answered += 1
        elif verdict.outcome == "lost":
            self.lost += 1
            wrong.append(verdict.message)
        else:
            self.refused[verdict.outcome] += 1
        if verdict.seconds > self.slowest_s:
            self.slowest_s, self.slowest = verdict.seconds, kind
        if verdict.peak_mb > self.peak_mb:
            self.peak_mb, self.largest = verdict.peak_mb, kind
        if verdict.seconds > most_s:
            wrong.append(f"took {verdict.seconds:.1f} s")
        if verdict.peak_mb > MOST_MB:
            wrong.append(f"took {verdict.peak_mb:.0f} MB")
        return wrong


class Campaign:
    """Puts each case into a folder of its own, asks the judge, and keeps what went wrong.

    Args:
        judge: that runs.
        most_s: seconds from which on a case counts as too slow; `MOST_S` if None.
        keep: a folder for the files that went wrong; they are not kept if None.
    """

    def __init__(self, judge: Judge, *, most_s: float | None = None, keep: Path | None = None) -> None:
        self.tally = Tally()
        self._judge, self._keep = judge, keep
        self._most_s = MOST_S if most_s is None else most_s

    def draw(self, count: int, number: int) -> None:
        """`count` cases that Hypothesis draws from the seed `number`."""

        @seed(number)
        @settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            verbosity=Verbosity.quiet,
            suppress_health_check=list(HealthCheck),
        )
        @given(cases())
        def one(case: Case) -> None:
            self.judge(case)

        one()

    def bombs(self, told: Callable[[str], object] = lambda _: None) -> None:
        """Every one of `bombs.BOMBS`."""
        for name in bombs.BOMBS:
            told(name)
            self.judge(file_case(name, bombs.make(name)))

    def judge(self, case: Case) -> Verdict:
        """One case."""
        # A deep folder's name would be too long for a socket's.
        with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
            question = case.put(Path(folder))
            verdict = self._judge.ask(question)
            if wrong := self.tally.add(case.kind, verdict, self._most_s):
                fault: dict[str, Any] = {"kind": case.kind, "wrong": wrong, "outcome": verdict.outcome}
                path = question.arguments[0] if question.door == "read" else None
                if self._keep is not None and isinstance(path, str) and Path(path).is_file():
                    kept = self._keep / f"{len(self.tally.faults):03d}-{case.kind.replace(' ', '-')}"
                    self._keep.mkdir(parents=True, exist_ok=True)
                    kept.write_bytes(Path(path).read_bytes())
                    fault["file"] = str(kept)
                elif question.door != "read":
                    fault["arguments"] = repr(question.arguments)[:500]
                self.tally.faults.append(fault)
        return verdict
