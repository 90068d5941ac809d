"""What is asked of each figure, and whether it is met. A figure stands beside what was measured in turn with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Found = Mapping[str, Mapping[str, Any]]
    """What each part of the bench wrote, by the part's name."""


CROWD = 16
"""Clients at once, on whom bars lie."""


class NotMeasured(LookupError):
    """A figure that isn't there, with the reason."""


@dataclass(frozen=True)
class Reading:
    """A figure.

    Attributes:
        value: what the bar is held against.
        ours: what was measured.
        beside: what was measured in turn with it.
    """

    value: float
    ours: str
    beside: str


@dataclass(frozen=True)
class Bar:
    """A bound.

    Attributes:
        what: is measured.
        read: takes the figure from what was found; raises LookupError where it isn't there.
        bound: that it is held against.
        unit: of both.
        at_least: whether more is better.
    """

    what: str
    read: Callable[[Found], Reading]
    bound: float
    unit: str
    at_least: bool = False

    def is_met(self, value: float) -> bool:
        """Whether a figure is good enough."""
        return value >= self.bound if self.at_least else value <= self.bound

    @property
    def asked(self) -> str:
        """In words."""
        return f"at {'least' if self.at_least else 'most'} {self.bound:g} {self.unit}"


def number(value: float) -> str:
    """As text, to about three digits, and with thousands set apart."""
    size = abs(value)
    return f"{value:,.{0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 else 3}f}"


def milliseconds(value: float) -> str:
    """As text; from 1 s on in seconds."""
    return f"{number(value / 1000.0)} s" if value >= 1_000.0 else f"{number(value)} ms"


def megabytes(size: float) -> str:
    """Bytes as text, in 10^6 bytes."""
    return f"{size / 1e6:.0f} MB"


def beside(reference: Mapping[str, Any]) -> str:
    """What a figure is compared with, and how long that took, or why it wasn't measured."""
    taken = f"not measured, {reference['skipped']}" if "skipped" in reference else milliseconds(reference["median_ms"])
    return f"{reference['what']}: {taken}"


# What each bar reads.


def _larger(name: str) -> Callable[[Found], Reading]:
    def read(found: Found) -> Reading:
        one = found["network"]["larger"][name]
        if "skipped" in one:
            raise NotMeasured(beside(one))
        return Reading(one["times_ours"], milliseconds(found["network"]["shipped"]["median_ms"]), beside(one))

    return read


def _runtimes(ours: str, theirs: str) -> Callable[[Found], Reading]:
    def read(found: Found) -> Reading:
        network = found["network"]
        return Reading(
            network["ratios"][f"{ours}_to_{theirs}"],
            milliseconds(network["window"][ours]["median_ms"]),
            beside(network["window"][theirs]),
        )

    return read


def _floor(found: Found) -> Reading:
    network = found["network"]
    counted = f"{network['multiply_adds'] / 1e6:,.0f} million multiply-adds at {network['peak']['gflops']:,.0f} GFLOP/s"
    ours = milliseconds(network["window"]["fp32"]["median_ms"])
    return Reading(network["ratios"]["fp32_to_floor"], ours, f"{counted}: {milliseconds(network['floor_ms'])}")


def _path(found: Found) -> Reading:
    taken = found["path"]["path"]["median_ms"]
    return Reading(taken, milliseconds(taken), beside(found["path"]["reference"]))


def _timed(part: str, name: str, value: str) -> Callable[[Found], Reading]:
    """`value` of what was timed under a name, see `timing.compared`."""

    def read(found: Found) -> Reading:
        one = found[part][name]
        return Reading(one[value], milliseconds(one["median_ms"]), beside(one["reference"]))

    return read


def _first_answer(found: Found) -> Reading:
    one = _timed("pages", "first_answer", "median_ms")(found)
    return replace(one, value=one.value / 1000.0)


def _resident(found: Found) -> Reading:
    ours, bare = (found["pages"]["memory"][who]["after_answers"]["resident"] for who in ("ours", "bare"))
    return Reading(ours / 1e6, megabytes(ours), f"a bare Gradio page: {megabytes(bare)}")


def _growth(found: Found) -> Reading:
    ours, bare = (100.0 * found["pages"]["memory"][who]["growth"] for who in ("ours", "bare"))
    return Reading(ours, f"{ours:.2f} %", f"a bare Gradio page: {bare:.2f} %")


def _at(found: Found, clients: int) -> Mapping[str, Any]:
    """The point of the curve with so many clients. Raises NotMeasured where it has none."""
    points: list[Mapping[str, Any]] = found["crowd"]["curve"]
    for one in points:
        if one["clients"] == clients:
            return one
    raise NotMeasured(f"the curve has no point of {clients} clients")


def _of_best(found: Found) -> Reading:
    best = max(found["crowd"]["curve"], key=lambda one: one["answers_per_s"])
    ours = _at(found, CROWD)["answers_per_s"]
    beside_it = f"{best['clients']} clients: {number(best['answers_per_s'])} answers a second"
    return Reading(100.0 * ours / best["answers_per_s"], f"{number(ours)} answers a second", beside_it)


def _waiting(found: Found) -> Reading:
    ours, alone = _at(found, CROWD)["p95_ms"], _at(found, 1)["median_ms"]
    return Reading(ours / alone, milliseconds(ours), f"the median of one client: {milliseconds(alone)}")


def _faults(found: Found) -> Reading:
    points = found["crowd"]["curve"]
    faults = sum(one["failed"] + one["wrong"] for one in points)
    return Reading(faults, f"of {sum(one['requests'] for one in points):,} requests", "each alone")


BARS = (
    Bar("The network as it ships, 3 s", _larger("densenet_torch"), 20, "times faster", at_least=True),
    Bar("The network as it ships, 3 s", _larger("wav2vec2"), 250, "times faster", at_least=True),
    Bar("The network in FP32", _runtimes("fp32", "onnxruntime"), 1.3, "times as long"),
    Bar("The network in INT8", _runtimes("int8", "fp32"), 1.0, "times as long"),
    Bar("The network in FP32, against the processor's peak", _floor, 2.0, "times as long"),
    Bar("From the path of a 4 s WAV at 48 kHz to its Prediction", _path, 15, "ms"),
    Bar("The pictures of one answer", _timed("stages", "pictures", "median_ms"), 30, "ms"),
    Bar("A call of the API with everything", _timed("pages", "api", "more_ms"), 60, "ms more"),
    Bar("From the start of the process to the page", _timed("pages", "start", "ratio"), 1.3, "times as long"),
    Bar("From then to the first answer", _first_answer, 6, "s"),
    Bar(
        "Ten minutes with their timeline",
        _timed("throughput", "long", "times_real_time"),
        200,
        "times real time",
        at_least=True,
    ),
    Bar(
        "1,000 clips on the command line",
        _timed("throughput", "clips", "clips_per_s"),
        60,
        "clips a second",
        at_least=True,
    ),
    Bar(f"Throughput of {CROWD} clients at once", _of_best, 90, "% of the best", at_least=True),
    Bar(f"What 95 % of their answers take at most, {CROWD} clients", _waiting, 20, "times as long"),
    Bar("Failed or wrong answers to 1 to 32 clients", _faults, 0, "answers"),
    Bar("Resident memory after 200 answers", _resident, 450, "MB"),
    Bar("Its growth over the last 100 of them", _growth, 2.0, "%"),
)
