"""A long recording's windows -> what a timeline shows: which emotion was heard from when to when, and for how long."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ser_core.emotions import LABELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ser_core.prediction import Prediction, State, Window


@dataclass(frozen=True)
class Segment:
    """Consecutive moments of a recording with the same answer.

    Attributes:
        start_s, end_s: seconds from the recording's start.
        state, label: as in `Window`; the same in all its moments.
        confidence: the probability of `label` in `probabilities`; None with `no_speech`.
        probabilities: the mean over its moments, summing to 1; empty with `no_speech`.
    """

    start_s: float
    end_s: float
    state: State
    label: str | None
    confidence: float | None
    probabilities: dict[str, float]

    @property
    def duration_s(self) -> float:
        """Seconds from start to end."""
        return self.end_s - self.start_s


def segments(prediction: Prediction) -> tuple[Segment, ...]:
    """The timeline of an answer.

    Windows overlap, so each answers for the time around its centre alone: the border between two lies midway between
    their centres; the first reaches back to the recording's start, the last on to its end. Neighbours with the same
    state and label are one segment.

    Returns:
        At least one; in order of time, from 0 to `duration_s` without gap or overlap.
    """
    return between(prediction.windows, 0.0, prediction.duration_s)


def between(windows: Sequence[Window], start_s: float, end_s: float) -> tuple[Segment, ...]:
    """The timeline of a part of a recording.

    Args:
        windows: that lie in it or reach into it, in order of time; none gives no segment.
        start_s: seconds, where the first segment begins.
        end_s: seconds, where the last one ends.
    """
    if not windows:
        return ()
    inner = [min(max(border, start_s), end_s) for border in _borders(windows)]
    borders = [start_s, *inner, end_s]
    moments = list(zip(itertools.pairwise(borders), windows, strict=True))
    # A window whose time lies outside answers for none of it; where there is no time at all, the first one answers.
    inside = [((start, end), window) for (start, end), window in moments if end > start] or moments[:1]
    groups = itertools.groupby(inside, key=lambda moment: (moment[1].state, moment[1].label))
    return tuple(_merge(list(group)) for _, group in groups)


def _borders(windows: Sequence[Window]) -> list[float]:
    """Where one window's time ends and the next one's begins, in seconds; one fewer than windows."""
    centres = [(window.start_s + window.end_s) / 2 for window in windows]
    return [(before + after) / 2 for before, after in itertools.pairwise(centres)]


def _merge(moments: Sequence[tuple[tuple[float, float], Window]]) -> Segment:
    """One segment of neighbours, each with the (start, end) in seconds for which it answers."""
    (start_s, _), first = moments[0]
    (_, end_s), _ = moments[-1]
    whole_s = end_s - start_s
    count = len(moments)
    # None has a length where a recording has no sample, or where all lie outside the part that is asked for.
    weights = [(end - start) / whole_s for (start, end), _ in moments] if whole_s > 0.0 else [1.0 / count] * count
    probabilities = {
        label: sum(weight * window.probabilities[label] for weight, (_, window) in zip(weights, moments, strict=True))
        for label in first.probabilities
    }
    confidence = None if first.label is None else probabilities[first.label]
    return Segment(start_s, end_s, first.state, first.label, confidence, probabilities)


def shares(parts: Sequence[Segment]) -> dict[str, float]:
    """How much of a recording's time each answer takes.

    Args:
        parts: what `segments` gave.

    Returns:
        Each emotion that was told, "uncertain" (whatever its label: none was told) and "no_speech", as far as they
        occur, to floats above 0 that sum to 1; the largest first.
    """
    seconds: dict[str, float] = {}
    for part in parts:
        name = _name(part)
        seconds[name] = seconds.get(name, 0.0) + part.duration_s
    whole_s = sum(seconds.values())
    if whole_s == 0.0:  # a recording without a sample
        return dict.fromkeys(seconds, 1.0)
    order = [*LABELS, "uncertain", "no_speech"]
    ranked = sorted(seconds, key=lambda name: (-seconds[name], order.index(name)))
    return {name: seconds[name] / whole_s for name in ranked}


def _name(part: Segment) -> str:
    return part.label if part.state == "ok" and part.label is not None else part.state


def to_dict(prediction: Prediction) -> dict[str, Any]:
    """The timeline as nested dicts and lists, ready for `json.dumps`.

    Returns:
        `duration_s`; `windows` and `segments`, both with the fields of `Segment`, the windows overlapping on their
        grid; `shares`.
    """
    parts = segments(prediction)
    names = [field.name for field in dataclasses.fields(Segment)]
    return {
        "duration_s": prediction.duration_s,
        "windows": [{name: getattr(window, name) for name in names} for window in prediction.windows],
        "segments": [dataclasses.asdict(part) for part in parts],
        "shares": shares(parts),
    }
