"""A window of a recording, made ready for the network; where it is the whole recording, made so on its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ser_core import features, voice
from ser_core.prediction import Span
from ser_core.resampling import QUALITY

if TYPE_CHECKING:
    from ser_core.config import FeatureConfig
    from ser_core.features import LogMel, Trimmed, Waveform


_SLOWER = 1.5
"""How many times slower, and so lower, a sound is heard once more in which no voice was found. Silero's detector misses
voices that lie very high: shouting women, children."""


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


def one_piece(waveform: Waveform, config: FeatureConfig) -> Stretch:
    """A recording of up to `one_piece_s`, as training hears it.

    Args:
        waveform: float32 (n,), mono at `config.sample_rate`.
        config: rates and bands.
    """
    rate = config.sample_rate
    trimmed, voice_s = voice.trim(waveform, config)
    if voice_s < config.min_voice_s and trimmed.samples.size:
        voice_s = max(voice_s, _high_voice_s(waveform, trimmed, config))
    sound_s = len(trimmed.samples) / rate
    span = Span(0.0, len(waveform) / rate)
    if sound_s < config.min_sound_s or voice_s < config.min_voice_s:
        return Stretch(span, None, None, sound_s, voice_s, trimmed.peak_dbfs)
    sound = Span(trimmed.start / rate, trimmed.end / rate)
    spectrogram = features.log_mel(trimmed.samples, config)
    padded = features.pad(spectrogram, features.padded_frames(spectrogram.shape[1], config))
    return Stretch(span, sound, padded, sound_s, voice_s, trimmed.peak_dbfs)


def _high_voice_s(waveform: Waveform, sound: Trimmed, config: FeatureConfig) -> float:
    """Seconds of voice in a recording that is heard slower; 0 where the voice isn't in `sound`."""
    import librosa

    slower = librosa.resample(
        waveform, orig_sr=config.sample_rate, target_sr=round(_SLOWER * config.sample_rate), res_type=QUALITY
    )
    voiced = voice.detector().find(slower, config)
    within = voiced.start < _SLOWER * sound.end and voiced.end > _SLOWER * sound.start
    return voiced.duration_s / _SLOWER if within else 0.0
