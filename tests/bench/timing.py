"""Functions are timed in turn, so that the machine's moods meet all alike; of the times, medians and ratios."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True)
class Rounds:
    """How often functions are called in turn.

    Attributes:
        counted: rounds that count.
        uncounted: rounds before those.
        settle_s: seconds of rest before each function's turn, which then begins with a call that doesn't count; for
            functions that push each other's weights out of the caches, and whose threads go on spinning behind a call.
            None: neither.
    """

    counted: int
    uncounted: int = 3
    settle_s: float | None = None


SHORT = Rounds(1, 0)
"""To see that all of it works."""
SETTLE_S = 0.02
"""Longer than the threads of PyTorch, ONNX Runtime and OpenBLAS spin."""


def in_turn(*functions: Callable[[], Any], rounds: Rounds) -> list[list[float]]:
    """Milliseconds that each function takes in each round that counts."""
    times: list[list[float]] = [[] for _ in functions]
    for turn in range(rounds.uncounted + rounds.counted):
        for function, mine in zip(functions, times, strict=True):
            if rounds.settle_s is not None:
                time.sleep(rounds.settle_s)
                function()
            started = time.perf_counter()
            function()
            if turn >= rounds.uncounted:
                mine.append(1000.0 * (time.perf_counter() - started))
    return times


def named_in_turn(functions: Mapping[str, Callable[[], Any]], rounds: Rounds) -> dict[str, list[float]]:
    """As `in_turn`, by name."""
    return dict(zip(functions, in_turn(*functions.values(), rounds=rounds), strict=True))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """How many times as long ours take: the median over the rounds, each with itself."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def compared(ours: Sequence[float], theirs: Sequence[float], what: str) -> dict[str, Any]:
    """Two functions' times as they are stored: `median_ms`, `runs`, `reference` (`what`, `median_ms`), `ratio`."""
    return {
        "median_ms": statistics.median(ours),
        "runs": len(ours),
        "reference": {"what": what, "median_ms": statistics.median(theirs)},
        "ratio": ratio(ours, theirs),
    }


def beside(ours: Callable[[], Any], reference: Callable[[], Any], what: str, rounds: Rounds) -> dict[str, Any]:
    """Call a function in turn with what it is compared with, which `what` names; see `compared`."""
    mine, theirs = in_turn(ours, reference, rounds=rounds)
    return compared(mine, theirs, what)
