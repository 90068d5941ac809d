"""What rooms, microphones, telephones and codecs do to a voice: each effect measured on what comes out."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests import sounds
from train import degrade

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from ser_core.features import Waveform
    from train.degrade import Codec

RATE = 16_000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def rms(waveform: npt.NDArray[np.floating]) -> float:
    return math.sqrt(float(np.square(waveform, dtype=np.float64).mean()))


def decibels(ratio: float) -> float:
    return 20.0 * math.log10(ratio)


def gain_at(change: Callable[[Waveform], Waveform], frequency: float) -> float:
    """By how many dB a change makes a tone louder, apart from what it does while the tone begins and ends."""
    tone = sounds.tone(1.0, frequency=frequency)
    middle = slice(RATE // 4, 3 * RATE // 4)
    return decibels(max(rms(change(tone)[middle]), 1e-9) / rms(tone[middle]))


def lag(waveform: Waveform, later: Waveform) -> int:
    """By how many samples `later` comes behind `waveform`: where their cross-correlation is highest."""
    size = 2 * len(waveform)
    correlation = np.fft.irfft(np.fft.rfft(later, size) * np.conj(np.fft.rfft(waveform, size)), size)
    place = int(correlation.argmax())
    return place if place < len(waveform) else place - size


def band_db(before: Waveform, after: Waveform, low_hz: float, high_hz: float) -> float:
    """By how many dB the power in a band changed."""
    frequencies = np.fft.rfftfreq(len(before), 1 / RATE)
    inside = (frequencies >= low_hz) & (frequencies < high_hz)
    then, now = (float((np.abs(np.fft.rfft(one))[inside] ** 2).sum()) for one in (before, after))
    return 10.0 * math.log10(now / then)


# Level.


def test_the_level_of_a_voice_does_not_depend_on_its_pauses() -> None:
    tone = sounds.tone(1.0, level=0.5)
    # The louder half of the frames, which don't hold whole periods.
    assert degrade.level(tone) == pytest.approx(0.5 / math.sqrt(2), rel=5e-3)
    with_pauses = np.concatenate([sounds.silence(0.4), tone, sounds.silence(0.4)])
    # A frame at each end of the tone is cut by it.
    assert degrade.level(with_pauses) == pytest.approx(0.5 / math.sqrt(2), rel=0.02)
    assert degrade.level(np.float32(0.1) * with_pauses) == pytest.approx(0.1 * degrade.level(with_pauses), rel=1e-5)


def test_silence_and_nothing_have_no_level() -> None:
    assert degrade.level(sounds.silence(1.0)) == 0.0
    assert degrade.level(sounds.tone(0.01)) == 0.0
    assert degrade.level(sounds.silence(0.0)) == 0.0


@pytest.mark.parametrize("wanted", [-20.0, -3.0, 0.0, 5.0])
def test_a_gain_is_as_many_decibels_as_it_says(wanted: float) -> None:
    voice = sounds.voice(1.0, level=0.5)
    assert degrade.gain(voice, wanted) == pytest.approx(voice * 10.0 ** (wanted / 20.0), rel=1e-6)


def test_a_gain_is_cut_off_at_full_scale() -> None:
    voice = sounds.voice(1.0, level=0.5)
    louder = degrade.gain(voice, 20.0)
    assert (louder.min(), louder.max()) == (-1.0, 1.0)
    below = np.abs(voice) < 0.1
    assert louder[below] == pytest.approx(10.0 * voice[below], rel=1e-5)
    assert (np.abs(louder[~below]) == 1.0).all()


def test_clipping_is_as_far_over_full_scale_as_it_says() -> None:
    tone = sounds.tone(1.0, frequency=100.0, level=0.03)
    clipped = degrade.clip(tone, 12.0)
    # A sine of amplitude a is above 1 for 1 - 2 asin(1 / a) / pi of the time.
    over = 1.0 - 2.0 / math.pi * math.asin(10.0 ** (-12.0 / 20.0))
    assert (np.abs(clipped) == 1.0).mean() == pytest.approx(over, abs=0.01)
    # How loud the recording was doesn't matter.
    assert degrade.clip(30.0 * tone, 12.0) == pytest.approx(clipped, abs=1e-5)
    silent = sounds.silence(0.1)
    assert np.array_equal(degrade.clip(silent, 12.0), silent)


# Noise.


@pytest.mark.parametrize("snr_db", [20.0, 10.0, 5.0, 0.0])
def test_noise_lies_as_far_below_the_voice_as_it_says(snr_db: float) -> None:
    voice, noise = sounds.voice(2.0, level=0.3), sounds.noise(2.0, rms=0.02, seed=5)
    noisy = degrade.add_noise(voice, noise, snr_db)
    assert noisy.dtype == np.float32
    added = noisy - voice
    assert decibels(degrade.level(voice) / rms(added)) == pytest.approx(snr_db, abs=0.01)
    assert np.corrcoef(added, noise)[0, 1] > 0.999


def test_noise_that_would_not_fit_levels_all_down() -> None:
    voice, noise = sounds.voice(1.0, level=1.0), sounds.noise(1.0)
    noisy = degrade.add_noise(voice, noise, 0.0)
    assert float(np.abs(noisy).max()) == pytest.approx(1.0)
    whole = voice + noise * np.float32(degrade.level(voice) / rms(noise))
    assert noisy == pytest.approx(whole / np.abs(whole).max(), abs=1e-5)


def test_a_silent_noise_adds_nothing() -> None:
    voice = sounds.voice(1.0)
    assert np.array_equal(degrade.add_noise(voice, sounds.silence(1.0), 0.0), voice)


def test_a_stretch_is_any_part_of_a_recording() -> None:
    recording = np.arange(100, dtype=np.float32)
    draws = rng()
    starts = set()
    for _ in range(500):
        stretch = degrade.stretch_of(recording, 90, draws)
        assert np.array_equal(stretch, np.arange(stretch[0], stretch[0] + 90))
        starts.add(int(stretch[0]))
    assert starts == set(range(11))


def test_a_recording_that_is_too_short_is_repeated() -> None:
    recording = np.arange(100, dtype=np.float32)
    draws = rng()
    for _ in range(20):
        stretch = degrade.stretch_of(recording, 250, draws)
        assert stretch.shape == (250,)
        assert np.array_equal(stretch, (stretch[0] + np.arange(250)) % 100)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_the_power_of_coloured_noise_falls_as_it_says(exponent: float) -> None:
    noise = degrade.coloured_noise(10 * RATE, exponent, rng())
    assert noise.shape == (10 * RATE,)
    assert float(np.abs(noise).max()) == pytest.approx(1.0)
    power = np.abs(np.fft.rfft(noise)) ** 2
    frequencies = np.fft.rfftfreq(len(noise), 1 / RATE)
    means = [
        10.0 * math.log10(power[(frequencies >= 0.9 * one) & (frequencies < 1.1 * one)].mean()) for one in (100, 3_200)
    ]
    # Five octaves, each of which halves 1 / f.
    assert means[1] - means[0] == pytest.approx(-5 * exponent * 10.0 * math.log10(2.0), abs=1.0)


def test_in_babble_every_voice_is_as_loud() -> None:
    voices = [sounds.voice(2.0, pitch=110.0, seed=1), sounds.voice(2.0, pitch=190.0, seed=2)]
    together = degrade.babble(voices, RATE, rng())
    assert together.shape == (RATE,)
    uneven = degrade.babble([voices[0] * np.float32(0.01), voices[1]], RATE, rng())
    assert uneven == pytest.approx(together, abs=1e-4)
    alone = [degrade.babble([voice], 2 * RATE, rng()) for voice in voices]
    assert [rms(one) for one in alone] == pytest.approx([rms(v) / degrade.level(v) for v in voices], rel=1e-4)


def test_in_babble_a_voice_goes_round() -> None:
    voice = sounds.voice(1.0)
    babble = degrade.babble([voice, sounds.silence(1.0)], RATE, rng())
    own = voice / np.float32(degrade.level(voice))
    turned = int(np.fft.irfft(np.fft.rfft(babble) * np.conj(np.fft.rfft(own))).argmax())
    assert turned > 0
    assert babble == pytest.approx(np.roll(own, turned), abs=1e-6)


# Bands and codecs.


@pytest.mark.parametrize("order", [1, 4])
def test_a_band_ends_at_its_edges(order: int) -> None:
    def change(waveform: Waveform) -> Waveform:
        return degrade.band_limit(waveform, 300.0, 3_400.0, RATE, order=order)

    # Butterworth: 3 dB less at an edge, 6 dB an octave for each order beyond.
    assert gain_at(change, 300.0) == pytest.approx(-3.0, abs=0.3)
    assert gain_at(change, 3_400.0) == pytest.approx(-3.0, abs=0.3)
    assert gain_at(change, 75.0) == pytest.approx(-10.0 * math.log10(1.0 + 4.0 ** (2 * order)), abs=0.5)
    assert gain_at(change, 6_800.0) < -6.0 * order
    assert gain_at(change, 1_000.0) == pytest.approx(0.0, abs=0.1 if order == 4 else 0.9)


def test_either_edge_of_a_band_can_be_off() -> None:
    voice = sounds.voice(1.0)
    assert np.array_equal(degrade.band_limit(voice, 0.0, RATE / 2, RATE), voice)
    assert gain_at(lambda x: degrade.band_limit(x, 0.0, 3_400.0, RATE), 30.0) == pytest.approx(0.0, abs=0.01)
    assert gain_at(lambda x: degrade.band_limit(x, 300.0, RATE / 2, RATE), 7_500.0) == pytest.approx(0.0, abs=0.01)


def test_a_telephone_has_its_band_and_its_eight_bits() -> None:
    def change(waveform: Waveform) -> Waveform:
        return degrade.telephone(waveform, RATE)

    assert gain_at(change, 1_000.0) == pytest.approx(0.0, abs=0.3)
    assert gain_at(change, 300.0) == pytest.approx(-3.0, abs=0.5)
    assert gain_at(change, 75.0) < -35.0
    assert gain_at(change, 6_000.0) < -35.0
    # Mu law leaves 38 dB or so between a loud tone and what it gets wrong; resampling alone would leave far more.
    tone = sounds.tone(1.0, frequency=1_000.0)
    spectrum = np.abs(np.fft.rfft(change(tone)[RATE // 4 : 3 * RATE // 4] * np.hanning(RATE // 2))) ** 2
    peak = int(spectrum.argmax())
    error = spectrum.sum() - spectrum[peak - 4 : peak + 5].sum()
    assert 30.0 < 10.0 * math.log10(spectrum.sum() / error) < 45.0


def test_a_telephone_keeps_length_and_place() -> None:
    burst = np.concatenate([sounds.silence(0.5), sounds.tone(0.3, frequency=1_000.0), sounds.silence(0.2001)])
    heard = degrade.telephone(burst, RATE)
    assert heard.shape == burst.shape
    assert heard.dtype == np.float32
    loud = np.flatnonzero(np.abs(heard) > 0.25)
    assert loud[0] == pytest.approx(0.5 * RATE, abs=0.003 * RATE)
    assert loud[-1] == pytest.approx(0.8 * RATE, abs=0.003 * RATE)


@pytest.mark.parametrize(("name", "bit_rates"), [("opus", (12_000, 32_000)), ("mp3", (24_000, 64_000))])
def test_a_codec_keeps_length_and_place_and_loses_the_more_the_fewer_bits_it_has(
    name: Codec, bit_rates: tuple[int, int]
) -> None:
    # A length that is no multiple of any codec's frame.
    voice = sounds.voice(1.5)[:23_457]
    poor, rich = (degrade.codec(voice, RATE, name, bit_rate) for bit_rate in bit_rates)
    for heard in (poor, rich):
        assert heard.shape == voice.shape
        assert heard.dtype == np.float32
        assert lag(voice, heard) == 0
        assert np.corrcoef(voice, heard)[0, 1] > 0.95
        # LAME makes all a little quieter, by 0.4 dB, on purpose.
        assert decibels(rms(heard) / rms(voice)) == pytest.approx(-0.2, abs=0.5)
    lost = [1.0 - float(np.corrcoef(voice, heard)[0, 1]) ** 2 for heard in (poor, rich)]
    assert lost[0] > 1e-3
    assert lost[0] > 2.0 * lost[1] > 0.0


def test_codecs_cut_off_the_top_of_the_spectrum() -> None:
    noise = sounds.noise(1.0)
    opus, mp3 = degrade.codec(noise, RATE, "opus", 16_000), degrade.codec(noise, RATE, "mp3", 24_000)
    for heard in (opus, mp3):
        assert band_db(noise, heard, 500.0, 5_000.0) > -4.0
        assert band_db(noise, heard, 7_600.0, 8_000.0) < -10.0
    assert band_db(noise, mp3, 6_500.0, 8_000.0) < -30.0


def test_a_codec_takes_what_is_beyond_full_scale() -> None:
    voice = sounds.voice(1.0, level=1.0)
    loud = degrade.codec(np.float32(3.0) * voice, RATE, "opus", 24_000)
    # Cut off, not wrapped round to the other side.
    assert np.corrcoef(loud, np.clip(3.0 * voice, -1.0, 1.0))[0, 1] > 0.95


# Rooms.


@pytest.mark.parametrize(("decay_s", "direct_db"), [(0.15, 10.0), (0.4, 3.0), (0.7, -3.0)])
def test_a_room_has_its_decay_and_its_direct_sound(decay_s: float, direct_db: float) -> None:
    impulse = sounds.silence(1.0)
    impulse[0] = 1.0
    response = degrade.reverberate(impulse, RATE, decay_s, direct_db, rng()).astype(np.float64)
    left = np.cumsum(response[::-1] ** 2)[::-1]
    assert 10.0 * math.log10(response[0] ** 2 / left[1]) == pytest.approx(direct_db, abs=0.01)
    # No reflection in the first 2 ms, none when the tail is over.
    assert np.abs(response[1:32]).max() < 1e-6
    assert np.abs(response[round(decay_s * RATE) + 1 :]).max() < 1e-6
    # Schroeder's integral: from 5 dB below its start to 25 dB below in a third of the time in which it falls by 60.
    curve = 10.0 * np.log10(np.maximum(left[33:] / left[33], 1e-12))
    first, last = int((curve < -5.0).argmax()), int((curve < -25.0).argmax())
    assert 3.0 * (last - first) / RATE == pytest.approx(decay_s, rel=0.1)


def test_a_room_keeps_the_voice_in_its_place_and_at_its_level() -> None:
    voice = sounds.voice(1.0, level=0.2)
    heard = degrade.reverberate(voice, RATE, 0.4, 3.0, rng())
    assert heard.shape == voice.shape
    assert heard.dtype == np.float32
    assert lag(voice, heard) == 0
    assert degrade.level(heard) == pytest.approx(degrade.level(voice), rel=1e-3)
    loud = degrade.reverberate(sounds.voice(1.0, level=1.0), RATE, 0.4, -3.0, rng())
    assert np.abs(loud).max() <= 1.0
    assert not degrade.reverberate(sounds.silence(0.5), RATE, 0.4, 3.0, rng()).any()


# All of it by chance.


@pytest.mark.parametrize(
    "change",
    [
        lambda x, draws: degrade.stretch_of(x, 1_000, draws),
        lambda x, draws: degrade.coloured_noise(1_000, 1.0, draws),
        lambda x, draws: degrade.babble([x], 1_000, draws),
        lambda x, draws: degrade.reverberate(x, RATE, 0.3, 0.0, draws),
        lambda x, draws: degrade.at_random(x, RATE, [sounds.noise(1.0)], draws),
    ],
    ids=["stretch_of", "coloured_noise", "babble", "reverberate", "at_random"],
)
def test_the_draws_alone_decide(change: Callable[[Waveform, np.random.Generator], Waveform]) -> None:
    voice = sounds.voice(1.0)
    before = voice.copy()
    first, again, other = (change(voice, rng(seed)) for seed in (11, 11, 12))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(voice, before)


@pytest.fixture(scope="module")
def many() -> list[Waveform]:
    """A voice under 80 draws."""
    voice, noises = sounds.voice(1.0, level=0.9), [sounds.noise(0.3), sounds.noise(3.0, seed=1)]
    return [degrade.at_random(voice, RATE, noises, rng(seed)) for seed in range(80)]


def test_whatever_happens_to_a_voice_leaves_a_sound_of_its_length(many: list[Waveform]) -> None:
    for heard in many:
        assert heard.dtype == np.float32
        assert heard.shape == (RATE,)
        assert np.isfinite(heard).all()
        # What decoders and filters make of a clipped wave may overshoot full scale, but not by much more than 6 dB.
        assert 0.01 < float(np.abs(heard).max()) < 2.5


def test_a_voice_is_changed_in_many_ways_and_now_and_then_in_none(
    many: list[Waveform], monkeypatch: pytest.MonkeyPatch
) -> None:
    voice = sounds.voice(1.0, level=0.9)
    assert 1 <= sum(np.array_equal(heard, voice) for heard in many) <= 12
    # Which changes come, counted where they do nothing.
    counts: Counter[str] = Counter()

    def counting(name: str) -> Callable[..., Waveform]:
        def unchanged(waveform: Waveform, *arguments: object, **_: object) -> Waveform:
            counts[f"{name} {arguments[1]}" if name == "codec" else name] += 1
            return waveform

        return unchanged

    for name in ("reverberate", "add_noise", "band_limit", "clip", "telephone", "codec"):
        monkeypatch.setattr(degrade, name, counting(name))
    for seed in range(300):
        degrade.at_random(sounds.silence(0.01), RATE, [], rng(seed))
    assert set(counts) == {"reverberate", "add_noise", "band_limit", "clip", "telephone", "codec opus", "codec mp3"}
    assert min(counts.values()) > 25
    assert max(counts.values()) < 210
    # A recording is handed over through one codec at most.
    assert counts["telephone"] + counts["codec opus"] + counts["codec mp3"] < 220


def test_nothing_happens_to_silence_that_is_no_number() -> None:
    for seed in range(30):
        heard = degrade.at_random(sounds.silence(0.5), RATE, [], rng(seed))
        assert heard.shape == (RATE // 2,)
        assert np.isfinite(heard).all()
