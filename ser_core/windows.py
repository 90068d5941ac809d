"""Recording -> windows, each made ready for the network; the windows' answers -> one answer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ser_core.longform import Analysis
from ser_core.prediction import Span
from ser_core.stretch import Stretch, one_piece

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ser_core.config import FeatureConfig
    from ser_core.features import Waveform

__all__ = ["Stretch", "batches", "grid", "hull", "join", "stretches"]

_BATCH_S = 30.0
"""Seconds of sound that are analysed at a time: enough to keep the machine busy, few enough for the memory."""


def grid(n_samples: int, config: FeatureConfig) -> list[tuple[int, int]]:
    """The windows of a recording, as (start, end) sample indices.

    A recording of up to `one_piece_s` is one window. A longer one is cut on a grid that starts at its first sample, so
    that a window's place does not depend on what follows it; the last window ends with the recording and may be
    shorter, by less than a hop.

    Args:
        n_samples: samples of the recording at `config.sample_rate`, at least 0.
        config: for `one_piece_s`, `window_s` and `window_hop_s`.

    Returns:
        At least one pair; 0 <= start <= end <= n_samples.
    """
    if n_samples <= round(config.one_piece_s * config.sample_rate):
        return [(0, n_samples)]
    window = round(config.window_s * config.sample_rate)
    hop = round(config.window_hop_s * config.sample_rate)
    count = math.ceil((n_samples - window) / hop) + 1
    return [(i * hop, min(i * hop + window, n_samples)) for i in range(count)]


def batches(waveform: Waveform, config: FeatureConfig) -> Iterator[list[Stretch]]:
    """Cut a recording into windows, trim each, and make its features, some at a time.

    Args:
        waveform: float32 (n,), mono at `config.sample_rate`.
        config: rates, grid and bands.

    Yields:
        The windows in order of time, at least one in all. Each depends on the sound until its end alone; so a long
        recording's are those of `ser_core.stream`.
    """
    due = grid(len(waveform), config)
    if len(due) == 1:
        yield [one_piece(waveform, config)]
        return
    analysis, step = Analysis(config), round(_BATCH_S * config.sample_rate)
    for start in range(0, len(waveform), step):
        analysis.push(waveform[start : start + step])
        count = sum(end <= len(analysis) for _, end in due)
        yield [analysis.stretch(*window) for window in due[:count]]
        del due[:count]
        if due:
            analysis.forget(due[0][0])


def stretches(waveform: Waveform, config: FeatureConfig) -> list[Stretch]:
    """All of `batches` at once; what training's evaluation judges too."""
    return [part for batch in batches(waveform, config) for part in batch]


def join(probabilities: npt.NDArray[np.float64], sound_s: Sequence[float]) -> npt.NDArray[np.float64]:
    """One answer from several: the mean of the windows' probabilities, each weighted by how much sound it holds.

    Args:
        probabilities: float64 (n_windows, n_emotions), rows that sum to 1, n_windows > 0.
        sound_s: seconds of sound in each window, all above 0.

    Returns:
        float64 (n_emotions,), sums to 1.
    """
    joined: npt.NDArray[np.float64] = np.average(probabilities, axis=0, weights=np.asarray(sound_s, dtype=np.float64))
    return joined


def hull(spans: Sequence[Span]) -> Span:
    """From the first start to the last end of `spans`, which must not be empty."""
    return Span(min(span.start_s for span in spans), max(span.end_s for span in spans))
