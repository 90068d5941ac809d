"""Recording -> windows, each made ready for the network; the windows' answers -> one answer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ser_core import features, voice
from ser_core.prediction import Span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ser_core.config import FeatureConfig
    from ser_core.features import LogMel, Waveform


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


@dataclass(frozen=True)
class Stretch:
    """A window of a recording, made ready for the network.

    Attributes:
        span: where it lies on the grid.
        sound: the voice in it, in seconds of the whole recording; None where there is too little to judge.
        spectrogram: float32 (n_mels, n_frames), filled up; None like `sound`.
        sound_s: seconds of sound that trimming left, also where it is too little.
        voice_s: seconds of voice in it.
        peak_dbfs: dB relative to full scale, RMS of its loudest frame.
    """

    span: Span
    sound: Span | None
    spectrogram: LogMel | None
    sound_s: float
    voice_s: float
    peak_dbfs: float


def stretches(waveform: Waveform, config: FeatureConfig) -> list[Stretch]:
    """Cut a recording into windows, trim each, and make its features; what training's evaluation judges too.

    Args:
        waveform: float32 (n,), mono at `config.sample_rate`.
        config: rates, grid and bands.

    Returns:
        At least one, in order of time; each depends on the sound within its own span alone.
    """
    return [_stretch(waveform, start, end, config) for start, end in grid(len(waveform), config)]


def _stretch(waveform: Waveform, start: int, end: int, config: FeatureConfig) -> Stretch:
    rate = config.sample_rate
    trimmed, voice_s = voice.trim(waveform[start:end], config)
    sound_s = len(trimmed.samples) / rate
    span = Span(start / rate, end / rate)
    if sound_s < config.min_sound_s or voice_s < config.min_voice_s:
        return Stretch(span, None, None, sound_s, voice_s, trimmed.peak_dbfs)
    sound = Span((start + trimmed.start) / rate, (start + trimmed.end) / rate)
    spectrogram = features.log_mel(trimmed.samples, config)
    padded = features.pad(spectrogram, features.padded_frames(spectrogram.shape[1], config))
    return Stretch(span, sound, padded, sound_s, voice_s, trimmed.peak_dbfs)


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
