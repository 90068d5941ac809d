"""What stands behind a bar that isn't met: the floor, where there is one, from what was measured beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench.bars import BARS, megabytes, milliseconds, number

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.bars import Found


_NOT_ON_THE_WAY = {"loading the model", "drawing", "encoding"}
"""Stages that no Prediction waits for."""


def reasons(found: Found) -> list[str]:
    """For each bar that isn't met and has a floor that explains it, that floor."""
    told = []
    for bar in BARS:
        try:
            met = bar.is_met(bar.read(found).value)
            why = FLOORS[bar.what](found) if not met and bar.what in FLOORS else []
        except LookupError:
            continue
        told += [line for line in why if line not in told]
    return ["Where a bar isn't met:", "\n".join(f"- {line}" for line in told)] if told else []


def _against_larger(found: Found) -> list[str]:
    one = found["network"]
    times = [
        f"{other['what']} has {number(other['multiply_adds'] / one['multiply_adds'])} times as many multiply-adds as "
        f"the network that ships, and takes {number(other['times_ours'])} times as long"
        for other in one["larger"].values()
        if "skipped" not in other
    ]
    floor = (
        f"In FP32 the network takes {number(one['ratios']['fp32_to_floor'])} times what its multiply-adds take at the "
        f"processor's peak, so there is at most that to gain; in INT8 {number(one['ratios']['int8_to_fp32'])} of FP32. "
        "Accuracy was bought with multiply-adds; [results.md](results.md) has smaller networks beside it."
    )
    return [f"{'; '.join(times)}. {floor}"]


def _path_floor(found: Found) -> list[str]:
    names = ", ".join(
        f"{name} {milliseconds(stage['median_ms'])}"
        for name, stage in found["stages"]["stages"].items()
        if name not in _NOT_ON_THE_WAY
    )
    return [f"The way to a Prediction goes through these stages, each measured by itself in another run: {names}."]


def _memory_floor(found: Found) -> list[str]:
    steps = list(found["profile"]["memory"].items())
    more = sorted(
        ((size - before, name) for (name, size), (_, before) in zip(steps[1:], steps, strict=False)), reverse=True
    )
    told = "; ".join(f"{name}: {megabytes(size)}" for size, name in more[:4])
    return [f"Of the resident memory most comes with these steps: {told}."]


FLOORS: dict[str, Callable[[Found], list[str]]] = {
    "The network as it ships, 3 s": _against_larger,
    "From the path of a 4 s WAV at 48 kHz to its Prediction": _path_floor,
    "Resident memory after 200 answers": _memory_floor,
}
"""What stands behind a bar, for those that may be out of reach."""
