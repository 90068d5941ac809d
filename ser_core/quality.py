"""What to say about a recording that may spoil its answer: silence, short, clipping, very quiet, noisy.

The thresholds are ours, set on 200 clips of RAVDESS. As they are, or cut tightly to their sound, none is called noisy
and one very quiet; normalised to full scale none is called clipped, driven 6 dB over it all are. With white noise, a
running tap or an exercise bike 5 dB below the voice more than 9 in 10 are called noisy, with pink noise or dishes 3 in
4; at 10 dB few are. Noise that comes and goes as a voice does is not recognised.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ser_core.config import FeatureConfig
from ser_core.prediction import QualityNote

if TYPE_CHECKING:
    from ser_core.features import Waveform

# Resampling and lossy coding round off a cut peak; from here on it still counts as full scale.
_FULL_SCALE = 0.98
# Share of the sound. A voice that just touches full scale stays far below, driven 3.5 dB over it reaches 1.5e-3.
_CLIPPED_SHARE = 5e-4
# dBFS, RMS of the loudest frame: what RAVDESS goes below in fewer than 1 clip of 100.
_VERY_QUIET_DBFS = -50.0
# Seconds; of the 8,399 clips of RAVDESS, nEMO and BanglaSER, cut to their sound, 28 are shorter.
_SHORT_S = 1.0
# dB between loud and quiet frames; clips cut tightly to their sound have 14 to 70, with the pauses around it 42 to 88.
_LOW_CONTRAST_DB = 14.0
# 25 ms, the customary frame of speech analysis; shorter than most closures of consonants, which show the noise.
_FRAME_S = 0.025
# Fewer frames than a second's may well hold one vowel and nothing else.
_MIN_CONTRAST_S = 1.0
# Mean square of a frame: digital silence, put in by an editor or a codec, tells nothing about the room.
_DIGITAL_SILENCE = 1e-12


def notes(
    waveform: Waveform,
    sample_rate: int,
    *,
    peak_dbfs: float,
    sound_s: float,
    voice_s: float,
    config: FeatureConfig | None = None,
) -> tuple[QualityNote, ...]:
    """Judge a recording as a whole.

    Args:
        waveform: float32 (n,), the whole recording, with the silence around the sound.
        sample_rate: Hz.
        peak_dbfs: dB relative to full scale, RMS of its loudest frame, as `features.trim` gives it; -inf for silence.
        sound_s: seconds of sound that trimming left, at least 0.
        voice_s: seconds of voice in it, at least 0.
        config: for `silence_dbfs`, `min_sound_s` and `min_voice_s`; `FeatureConfig()` where None.

    Returns:
        The notes, worst first; empty where there is nothing to say. "silence", "no_voice" and "too_short", which leave
        no emotion to be told, come first; "silence" stands alone.
    """
    config = config or FeatureConfig()
    if len(waveform) == 0 or sound_s <= 0.0 or peak_dbfs < config.silence_dbfs:
        return (
            QualityNote(
                "silence",
                "Nothing can be heard in this recording. Check that the right microphone is chosen and not muted, or, "
                "where it is a file, that it plays.",
            ),
        )
    found: list[QualityNote] = []
    if voice_s < config.min_voice_s <= sound_s:
        found.append(
            QualityNote(
                "no_voice",
                "There is sound in this recording, but nobody was heard to speak or sing. Come closer to the "
                "microphone, in a quiet place, and record again.",
            )
        )
    if sound_s < config.min_sound_s:
        found.append(
            QualityNote(
                "too_short",
                f"There are only {sound_s:.2f} s of sound; at least {config.min_sound_s:g} s are needed. Speak a whole "
                "sentence.",
            )
        )
    elif sound_s < _SHORT_S and voice_s >= config.min_voice_s:
        found.append(
            QualityNote(
                "short",
                f"There are only {sound_s:.1f} s of sound, less than the model learned from. Speak a whole sentence "
                "for an answer to rely on.",
            )
        )
    if clipped_share(waveform) * len(waveform) > _CLIPPED_SHARE * sound_s * sample_rate:
        found.append(
            QualityNote(
                "clipping",
                "The recording is overdriven: its peaks are cut off. Turn the microphone's level down or move "
                "away from it.",
            )
        )
    if peak_dbfs < _VERY_QUIET_DBFS:
        found.append(
            QualityNote(
                "very_quiet",
                "The recording is very quiet. Come closer to the microphone or turn its level up.",
            )
        )
    # Of a voice alone: a steady sound in which nobody speaks has been told above.
    if voice_s >= config.min_voice_s and contrast_db(waveform, sample_rate) < _LOW_CONTRAST_DB:
        found.append(
            QualityNote(
                "noisy",
                "The voice hardly stands out from the sound around it. Record in a quieter place or closer to the "
                "microphone.",
            )
        )
    return tuple(found)


def clipped_share(waveform: Waveform) -> float:
    """The share of samples, in [0, 1], that lie at full scale next to another one that does.

    A voice passes through its peaks; where two neighbours stay at full scale, the peak has been cut off.
    """
    if len(waveform) == 0:
        return 0.0
    at_full_scale = np.abs(waveform) >= _FULL_SCALE
    return float(np.count_nonzero(at_full_scale[1:] & at_full_scale[:-1])) / len(waveform)


def contrast_db(waveform: Waveform, sample_rate: int) -> float:
    """How far, in dB, the loud frames (95th percentile of energy) stand above the quiet ones (10th percentile).

    The quiet frames of a voice, its pauses and closures, show the noise around it. inf where there is under a second
    of frames that are not digital silence.
    """
    length = round(_FRAME_S * sample_rate)
    count = len(waveform) // length
    frames = waveform[: count * length].reshape(count, length)
    # A cheap sound card adds a constant, which would fill every pause; digital silence has none.
    frames = frames - frames.mean(axis=1, keepdims=True)
    energies = np.einsum("ij,ij->i", frames, frames) / length
    energies = energies[energies > _DIGITAL_SILENCE]
    if len(energies) * _FRAME_S < _MIN_CONTRAST_S:
        return math.inf
    quiet, loud = np.percentile(energies, [10.0, 95.0])
    return 10.0 * math.log10(loud / quiet)
