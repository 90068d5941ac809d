"""Waveform -> log-mel. The only place that makes features; training and serving both come through here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from ser_core.config import FeatureConfig

Waveform = npt.NDArray[np.float32]
"""float32 (n_samples,), mono, at `FeatureConfig.sample_rate`, full scale at ±1."""

LogMel = npt.NDArray[np.float32]
"""float32 (n_mels, n_frames) in [-1, 1]: 1 is the stretch's loudest bin, -1 is `dynamic_range_db` or more below it."""


@dataclass(frozen=True)
class Trimmed:
    """The part of a stretch that is sound.

    Attributes:
        samples: float32 (n,), the sound without leading and trailing silence; empty where there is none.
        start, end: sample indices of that part in the stretch.
        peak_dbfs: dB relative to full scale, RMS of the loudest frame of the stretch; -inf for digital silence.
    """

    samples: Waveform
    start: int
    end: int
    peak_dbfs: float


def trim(waveform: Waveform, config: FeatureConfig) -> Trimmed:
    """Cut leading and trailing silence, judged against the loudest frame of `waveform` itself.

    Args:
        waveform: float32 (n,), any n.
        config: for `trim_*` and `silence_dbfs`.

    Returns:
        The sound; empty where the loudest frame lies below `silence_dbfs`.
    """
    import librosa

    if waveform.size == 0:
        return Trimmed(waveform, 0, 0, -math.inf)
    # A cheap sound card adds a constant, which is no sound.
    centred = waveform - waveform.mean()
    rms = librosa.feature.rms(y=centred, frame_length=config.trim_frame_length, hop_length=config.trim_hop_length)
    peak_dbfs = 20.0 * math.log10(peak) if (peak := float(rms.max())) > 0.0 else -math.inf
    if peak_dbfs < config.silence_dbfs:
        return Trimmed(waveform[:0], 0, 0, peak_dbfs)
    _, (start, end) = librosa.effects.trim(
        centred,
        top_db=config.trim_top_db,
        frame_length=config.trim_frame_length,
        hop_length=config.trim_hop_length,
    )
    return Trimmed(waveform[start:end], int(start), int(end), peak_dbfs)


def mel_power(waveform: Waveform, config: FeatureConfig, *, center: bool = True) -> npt.NDArray[np.float32]:
    """The power in each mel band, by librosa.

    Args:
        waveform: float32 (n,), n > 0.
        config: rates and bands.
        center: whether frames lie around multiples of `hop_length`, with silence beyond both ends; else they begin
            there, and only those that lie whole in the waveform are told.

    Returns:
        float32 (n_mels, n_frames), at least 0.
    """
    import librosa

    power: npt.NDArray[np.float32] = librosa.feature.melspectrogram(
        y=waveform,
        sr=config.sample_rate,
        n_fft=config.n_fft,
        hop_length=config.hop_length,
        n_mels=config.n_mels,
        fmin=config.f_min,
        fmax=config.f_max,
        center=center,
    )
    return power


def log_mel(waveform: Waveform, config: FeatureConfig) -> LogMel:
    """The log-mel spectrogram of a stretch of sound, relative to its own loudest bin.

    Args:
        waveform: float32 (n,), n > 0.
        config: rates, bands and range.

    Returns:
        float32 (n_mels, 1 + n // hop_length) in [-1, 1]; all -1 for digital silence.
    """
    import librosa

    power = mel_power(waveform, config)
    loudest = float(power.max())
    if loudest <= 0.0:
        return np.full(power.shape, -1.0, dtype=np.float32)
    # amin far below the range: librosa's default of 1e-10 would flatten the quiet end of a quiet recording.
    decibels = librosa.power_to_db(power / loudest, ref=1.0, amin=1e-20, top_db=None)
    scaled: LogMel = np.clip(decibels * (2.0 / config.dynamic_range_db) + 1.0, -1.0, 1.0).astype(np.float32)
    return scaled


def band_hz(config: FeatureConfig) -> npt.NDArray[np.float64]:
    """float64 (n_mels,): the centres of the mel bands in Hz."""
    import librosa

    edges = librosa.mel_frequencies(n_mels=config.n_mels + 2, fmin=config.f_min, fmax=config.f_max)
    return np.asarray(edges[1:-1], dtype=np.float64)


def padded_frames(n_frames: int, config: FeatureConfig) -> int:
    """Frames after filling up: at least `min_frames`, and a multiple of `frame_step`."""
    return max(config.min_frames, math.ceil(n_frames / config.frame_step) * config.frame_step)


def pad(spectrogram: LogMel, n_frames: int) -> LogMel:
    """Fill up with silence (-1) behind the end.

    Args:
        spectrogram: float32 (n_mels, t), t <= n_frames.
        n_frames: frames of the result.

    Returns:
        float32 (n_mels, n_frames).
    """
    return np.pad(spectrogram, ((0, 0), (0, n_frames - spectrogram.shape[1])), constant_values=-1.0)
