"""Waveform -> log-mel: where a tone lands, what level does, what counts as silence."""

from __future__ import annotations

import math
from dataclasses import replace

import librosa
import numpy as np
import pytest

from ser_core.config import FeatureConfig
from ser_core.features import log_mel, pad, padded_frames, trim
from tests import sounds

CONFIG = FeatureConfig()
RATE = CONFIG.sample_rate


# Log-mel.


@pytest.mark.parametrize("frequency", [100.0, 220.0, 440.0, 1_000.0, 2_500.0, 5_000.0, 7_500.0])
def test_a_tone_is_loudest_in_the_band_around_its_frequency(frequency: float) -> None:
    centres = librosa.mel_frequencies(CONFIG.n_mels + 2, fmin=CONFIG.f_min, fmax=CONFIG.f_max)
    loudest = int(log_mel(sounds.tone(1.0, frequency=frequency), CONFIG)[:, 10:-10].mean(axis=1).argmax())
    # A band reaches from the centre below its own to the one above; `centres` holds the outermost edges, too.
    assert centres[loudest] <= frequency <= centres[loudest + 2]


def test_a_tone_lies_far_above_the_bands_away_from_it() -> None:
    spectrogram = log_mel(sounds.tone(1.0, frequency=1_000.0), CONFIG)[:, 10:-10]
    band = int(spectrogram.mean(axis=1).argmax())
    assert spectrogram[band].min() > 0.99
    # 60 dB below, and more, eight bands away: three quarters of the range of 80 dB, which is 2 wide.
    assert spectrogram[band + 8 :].max() < 1.0 - 1.5
    assert spectrogram[: band - 8].max() < 1.0 - 1.5


def test_half_the_amplitude_is_6_db_lower() -> None:
    loud, quiet = sounds.tone(1.0, frequency=500.0, level=0.8), sounds.tone(1.0, frequency=500.0, level=0.4)
    spectrogram = log_mel(np.concatenate([loud, quiet]), CONFIG)
    band = int(spectrogram.mean(axis=1).argmax())
    # The middle of either second.
    half = round(0.5 * CONFIG.frame_rate)
    difference = float(spectrogram[band, half] - spectrogram[band, 3 * half])
    assert difference * CONFIG.dynamic_range_db / 2.0 == pytest.approx(20.0 * math.log10(2.0), abs=0.01)


@pytest.mark.parametrize("gain_db", [-20.0, 20.0])
def test_level_makes_no_difference(gain_db: float) -> None:
    voice = sounds.voice(2.0)
    louder = voice * np.float32(10.0 ** (gain_db / 20.0))
    np.testing.assert_allclose(log_mel(louder, CONFIG), log_mel(voice, CONFIG), atol=1e-4)


def test_a_quiet_recording_keeps_its_whole_range() -> None:
    """librosa's own floor of 1e-10 in power would flatten what lies under it."""
    voice = sounds.voice(2.0)
    np.testing.assert_allclose(log_mel(1e-4 * voice, CONFIG), log_mel(voice, CONFIG), atol=1e-3)


@pytest.mark.parametrize("samples", [400, 4_800, 4_959, 4_960, 16_000, 96_000])
def test_shape_type_and_range(samples: int) -> None:
    spectrogram = log_mel(sounds.noise(samples / RATE), CONFIG)
    assert spectrogram.shape == (CONFIG.n_mels, 1 + samples // CONFIG.hop_length)
    assert spectrogram.dtype == np.float32
    assert spectrogram.max() == 1.0
    assert spectrogram.min() >= -1.0


def test_digital_silence_is_the_bottom_of_the_range() -> None:
    spectrogram = log_mel(sounds.silence(0.5), CONFIG)
    assert spectrogram.shape == (CONFIG.n_mels, 1 + 8_000 // CONFIG.hop_length)
    assert (spectrogram == -1.0).all()


def test_silence_beside_sound_is_clamped_at_the_bottom() -> None:
    spectrogram = log_mel(np.concatenate([sounds.tone(0.5), sounds.silence(0.5)]), CONFIG)
    # Frames are centred: of the 8,000 samples of the tone, frame 51 begins with the last 40, frame 52 hears none.
    assert spectrogram[:, 51].max() > -1.0
    assert (spectrogram[:, 52:] == -1.0).all()


def test_the_dynamic_range_comes_from_the_config() -> None:
    voice = sounds.voice(1.0)
    wide, narrow = (log_mel(voice, replace(CONFIG, dynamic_range_db=decibels)) for decibels in (80.0, 40.0))
    np.testing.assert_allclose(np.clip(2.0 * wide - 1.0, -1.0, 1.0), narrow, atol=1e-6)


# Filling up.


@pytest.mark.parametrize(
    ("frames", "filled"), [(1, 192), (191, 192), (192, 192), (193, 224), (224, 224), (225, 256), (601, 608)]
)
def test_padded_frames(frames: int, filled: int) -> None:
    assert padded_frames(frames, replace(CONFIG, min_frames=192, frame_step=32)) == filled


def test_pad_puts_silence_behind() -> None:
    spectrogram = log_mel(sounds.voice(1.0), CONFIG)
    filled = pad(spectrogram, 192)
    assert filled.shape == (CONFIG.n_mels, 192)
    assert filled.dtype == np.float32
    np.testing.assert_array_equal(filled[:, : spectrogram.shape[1]], spectrogram)
    assert (filled[:, spectrogram.shape[1] :] == -1.0).all()


def test_pad_leaves_a_full_one_alone() -> None:
    spectrogram = log_mel(sounds.voice(1.91), CONFIG)
    assert spectrogram.shape[1] == 192
    np.testing.assert_array_equal(pad(spectrogram, 192), spectrogram)


# Trimming.


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.0), (0.7, 0.0), (0.0, 0.9), (0.6, 1.1)])
def test_trim_finds_the_sound(before: float, after: float) -> None:
    sound = sounds.tone(1.0)
    trimmed = trim(np.concatenate([sounds.silence(before), sound, sounds.silence(after)]), CONFIG)
    # A frame counts as a whole when it touches the sound: half a frame and a hop at either end.
    slack = (CONFIG.trim_frame_length // 2 + CONFIG.trim_hop_length) / RATE
    assert before - slack <= trimmed.start / RATE <= before
    assert before + 1.0 <= trimmed.end / RATE <= before + 1.0 + slack
    assert len(trimmed.samples) == trimmed.end - trimmed.start
    assert trimmed.peak_dbfs == pytest.approx(20.0 * math.log10(0.5 / math.sqrt(2.0)), abs=0.05)


def test_trim_keeps_the_samples_as_they_are() -> None:
    recording = np.concatenate([sounds.silence(0.5), sounds.voice(1.5), sounds.silence(0.5)])
    trimmed = trim(recording, CONFIG)
    np.testing.assert_array_equal(trimmed.samples, recording[trimmed.start : trimmed.end])


def test_trim_keeps_pauses_within() -> None:
    pieces = [sounds.silence(0.5), sounds.tone(0.5), sounds.silence(1.0), sounds.tone(0.5), sounds.silence(0.5)]
    trimmed = trim(np.concatenate(pieces), CONFIG)
    assert len(trimmed.samples) / RATE == pytest.approx(2.0, abs=0.2)


def test_trim_is_relative_to_the_loudest_frame() -> None:
    """What lies 30 dB below it is sound, what lies 50 dB below is not, at any level."""
    for gain in (1.0, 0.1):
        faint, fainter = sounds.tone(1.0, level=0.5 * 10**-1.5), sounds.tone(1.0, level=0.5 * 10**-2.5)
        trimmed = trim(np.float32(gain) * np.concatenate([faint, sounds.tone(1.0), fainter]), CONFIG)
        assert trimmed.start == 0
        assert 2.0 <= trimmed.end / RATE < 2.1


@pytest.mark.parametrize(
    "waveform",
    [
        sounds.silence(0.0),
        sounds.silence(1 / RATE),
        sounds.silence(2.0),
        sounds.noise(2.0, rms=10.0 ** ((CONFIG.silence_dbfs - 3.0) / 20.0)),
    ],
    ids=["no-samples", "one-zero", "zeros", "below-the-threshold"],
)
def test_silence_leaves_nothing(waveform: sounds.Floats) -> None:
    trimmed = trim(waveform, CONFIG)
    assert (len(trimmed.samples), trimmed.start, trimmed.end) == (0, 0, 0)
    assert trimmed.peak_dbfs < CONFIG.silence_dbfs


def test_just_above_the_threshold_is_sound() -> None:
    trimmed = trim(sounds.noise(2.0, rms=10.0 ** ((CONFIG.silence_dbfs + 3.0) / 20.0)), CONFIG)
    assert len(trimmed.samples) == 2 * RATE
    assert trimmed.peak_dbfs == pytest.approx(CONFIG.silence_dbfs + 3.0, abs=1.0)


def test_digital_silence_has_no_level() -> None:
    assert trim(sounds.silence(1.0), CONFIG).peak_dbfs == -math.inf
    assert trim(sounds.silence(0.0), CONFIG).peak_dbfs == -math.inf
