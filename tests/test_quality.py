from __future__ import annotations

import math

import numpy as np
import pytest

from ser_core import audio, quality
from ser_core.config import FeatureConfig
from ser_core.voice import trim
from tests import sounds

RATE = 16_000
CONFIG = FeatureConfig()


def judge(samples: sounds.Floats) -> list[str]:
    """The codes for a recording, with level, sound and voice as `voice.trim` measures them."""
    trimmed, voice_s = trim(samples, CONFIG)
    sound_s = len(trimmed.samples) / RATE
    found = quality.notes(samples, RATE, peak_dbfs=trimmed.peak_dbfs, sound_s=sound_s, voice_s=voice_s, config=CONFIG)
    return [note.code for note in found]


def at_snr(voice: sounds.Floats, noise: sounds.Floats, snr_db: float) -> sounds.Floats:
    """The voice with the noise `snr_db` below it, both measured as mean power."""
    gain = math.sqrt(float(np.mean(voice**2) / np.mean(noise**2)) / 10.0 ** (snr_db / 10.0))
    return voice + np.float32(gain) * noise


@pytest.mark.parametrize("seconds", [1.6, 3.0, 20.0])
@pytest.mark.parametrize("pitch", [100.0, 140.0, 230.0])
@pytest.mark.parametrize("level", [0.05, 0.5, 0.95])
def test_a_good_recording_earns_no_note(seconds: float, pitch: float, level: float) -> None:
    assert judge(sounds.voice(seconds, pitch=pitch, level=level)) == []


@pytest.mark.parametrize(
    "samples",
    [
        sounds.silence(0.0),
        sounds.silence(2.0),
        np.full(2 * RATE, 1e-5, np.float32),
        sounds.noise(2.0, rms=1e-4),
        1e-4 * sounds.voice(2.0),
    ],
    ids=["no-samples", "zeros", "offset", "faint-noise", "faint-voice"],
)
def test_silence_stands_alone(samples: sounds.Floats) -> None:
    assert judge(samples) == ["silence"]


def test_silence_by_the_measures_alone() -> None:
    voice = sounds.voice()
    for peak_dbfs, sound_s in ((-math.inf, 1.0), (CONFIG.silence_dbfs - 0.1, 1.0), (-20.0, 0.0)):
        found = quality.notes(voice, RATE, peak_dbfs=peak_dbfs, sound_s=sound_s, voice_s=0.0)
        assert [note.code for note in found] == ["silence"]


def test_too_short_tells_both_lengths() -> None:
    samples = np.concatenate([sounds.silence(1.0), sounds.tone(0.12), sounds.silence(1.0)])
    found = quality.notes(samples, RATE, peak_dbfs=-9.0, sound_s=0.2, voice_s=0.2, config=CONFIG)
    assert [note.code for note in found] == ["too_short"]
    assert "0.20 s" in found[0].message
    assert "0.3 s" in found[0].message


@pytest.mark.parametrize(("sound_s", "codes"), [(0.29, ["too_short"]), (0.3, ["short"]), (0.99, ["short"]), (1.0, [])])
def test_what_is_shorter_than_what_was_learned_from_is_told(sound_s: float, codes: list[str]) -> None:
    found = quality.notes(sounds.voice(), RATE, peak_dbfs=-9.0, sound_s=sound_s, voice_s=0.25, config=CONFIG)
    assert [note.code for note in found] == codes


# Frames of 32 ms: four are too few, five are enough.
@pytest.mark.parametrize(("voice_s", "codes"), [(0.0, ["no_voice"]), (0.128, ["no_voice"]), (0.16, [])])
def test_sound_without_enough_voice_is_told(voice_s: float, codes: list[str]) -> None:
    found = quality.notes(sounds.voice(), RATE, peak_dbfs=-9.0, sound_s=1.5, voice_s=voice_s, config=CONFIG)
    assert [note.code for note in found] == codes


@pytest.mark.parametrize(
    ("sound_s", "codes"), [(0.1, ["too_short"]), (0.2, ["no_voice", "too_short"]), (0.4, ["no_voice"])]
)
def test_no_voice_is_claimed_only_of_what_could_hold_one(sound_s: float, codes: list[str]) -> None:
    found = quality.notes(sounds.voice(), RATE, peak_dbfs=-9.0, sound_s=sound_s, voice_s=0.0, config=CONFIG)
    assert [note.code for note in found] == codes


@pytest.mark.parametrize(
    "samples",
    [
        sounds.noise(2.0),
        sounds.tone(2.0),
        sounds.tone(2.0, frequency=150.0),
        0.3 + 0.5 * sounds.tone(2.0),
        np.full(2 * RATE, 0.3, np.float32) + sounds.noise(2.0),
    ],
    ids=["noise", "tone", "low-tone", "tone-and-offset", "noise-and-offset"],
)
def test_what_is_no_voice_is_not_called_a_noisy_one(samples: sounds.Floats) -> None:
    assert judge(samples) == ["no_voice"]


def test_what_is_no_voice_may_be_overdriven_and_quiet_all_the_same() -> None:
    assert judge(np.sign(sounds.tone(2.0))) == ["no_voice", "clipping"]
    assert judge(0.002 * sounds.tone(2.0)) == ["no_voice", "very_quiet"]


@pytest.mark.parametrize("gain", [2.0, 4.0, 20.0])
def test_a_cut_off_voice_is_clipped(gain: float) -> None:
    overdriven = np.clip(gain * sounds.voice(3.0, level=1.0), -1.0, 1.0)
    assert "clipping" in judge(overdriven)
    # one second of it in an otherwise good minute is still heard
    rest = sounds.silence(30.0)
    assert "clipping" in judge(np.concatenate([rest, overdriven, rest]))


def test_clipping_survives_resampling() -> None:
    overdriven = np.clip(4.0 * sounds.voice(3.0, 44_100, level=1.0), -1.0, 1.0)
    assert "clipping" in judge(audio.from_array(overdriven, 44_100).samples)


def test_clipped_share_counts_neighbours_at_full_scale() -> None:
    samples = np.array([0.0, 1.0, 0.0, -1.0, -1.0, -1.0, 0.5, 0.99, -0.98, 0.97], np.float32)
    assert quality.clipped_share(samples) == pytest.approx(3 / 10)  # pairs: (3, 4), (4, 5), (7, 8)
    assert quality.clipped_share(samples[:0]) == 0.0
    assert quality.clipped_share(samples[1:2]) == 0.0


def test_a_far_voice_is_very_quiet() -> None:
    assert judge(0.004 * sounds.voice(3.0, level=1.0)) == ["very_quiet"]


@pytest.mark.parametrize(("snr_db", "noisy"), [(0.0, True), (5.0, True), (20.0, False), (30.0, False)])
@pytest.mark.parametrize("seed", range(3))
def test_noise_is_told_from_a_quiet_room(snr_db: float, noisy: bool, seed: int) -> None:
    mixed = at_snr(sounds.voice(4.0, level=0.3, seed=seed), sounds.noise(4.0, seed=seed + 100), snr_db)
    assert judge(mixed) == (["noisy"] if noisy else [])


def test_a_voice_without_pauses_at_its_ends_is_not_noisy() -> None:
    voice = sounds.voice(4.0)
    assert judge(voice[RATE // 3 : -RATE // 3]) == []


def test_digital_silence_around_it_does_not_hide_noise() -> None:
    mixed = at_snr(sounds.voice(3.0), sounds.noise(3.0), 3.0)
    assert judge(np.concatenate([sounds.silence(2.0), mixed, sounds.silence(2.0)])) == ["noisy"]


def test_contrast_is_the_distance_of_two_levels() -> None:
    samples = np.concatenate([sounds.tone(2.0, frequency=400.0, level=a) for a in (0.5, 0.05)])
    assert quality.contrast_db(samples, RATE) == pytest.approx(20.0, abs=0.01)
    assert quality.contrast_db(samples[: RATE // 2], RATE) == math.inf
    assert quality.contrast_db(samples[:0], RATE) == math.inf


def test_a_constant_is_not_taken_for_noise() -> None:
    """A cheap sound card adds one; it fills every pause without being heard."""
    voice = sounds.voice(4.0)
    for constant in (0.003, 0.1, 0.4):
        offset = voice + np.float32(constant)
        assert quality.contrast_db(offset, RATE) == pytest.approx(quality.contrast_db(voice, RATE), abs=0.05)
        assert judge(offset) == []


def test_notes_come_worst_first() -> None:
    noisy = at_snr(sounds.voice(3.0), sounds.noise(3.0), 3.0)
    assert judge(np.clip(4.0 * noisy, -1.0, 1.0)) == ["clipping", "noisy"]
    assert judge(0.004 * noisy / np.abs(noisy).max()) == ["very_quiet", "noisy"]


def test_every_message_tells_what_to_do() -> None:
    noisy = np.clip(20.0 * at_snr(sounds.voice(3.0), sounds.noise(3.0), 3.0), -1.0, 1.0)
    found = [
        *quality.notes(noisy, RATE, peak_dbfs=-55.0, sound_s=0.2, voice_s=0.16),
        *quality.notes(sounds.noise(), RATE, peak_dbfs=-20.0, sound_s=2.0, voice_s=0.0),
        *quality.notes(noisy, RATE, peak_dbfs=-math.inf, sound_s=0.0, voice_s=0.0),
    ]
    assert [note.code for note in found] == ["too_short", "clipping", "very_quiet", "noisy", "no_voice", "silence"]
    # two clauses or sentences: what was heard, and a request
    requests = ("Speak", "Turn", "Come", "Record", "Check")
    assert all(any(f" {verb} " in note.message for verb in requests) and note.message.endswith(".") for note in found)


def test_the_recording_is_left_as_it_is() -> None:
    voice = sounds.voice()
    voice.flags.writeable = False
    before = voice.copy()
    judge(voice)
    assert np.array_equal(voice, before)
