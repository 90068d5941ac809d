"""The grid of windows, and one answer from many."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from ser_core import features, longform, windows
from ser_core.config import FeatureConfig
from ser_core.longform import Analysis, Series
from ser_core.prediction import Span
from ser_core.stretch import one_piece
from ser_core.windows import stretches
from tests import bundles, sounds

CONFIG = FeatureConfig()
RATE = CONFIG.sample_rate
ONE_PIECE, WINDOW, HOP = (round(s * RATE) for s in (CONFIG.one_piece_s, CONFIG.window_s, CONFIG.window_hop_s))
LENGTHS = [ONE_PIECE + 1, ONE_PIECE + HOP - 1, ONE_PIECE + HOP, ONE_PIECE + HOP + 1, 7 * RATE + 123, 60 * RATE]


@pytest.mark.parametrize("n_samples", [0, 1, RATE, ONE_PIECE - 1, ONE_PIECE])
def test_up_to_six_seconds_is_one_piece(n_samples: int) -> None:
    assert ONE_PIECE == 6 * RATE
    assert windows.grid(n_samples, CONFIG) == [(0, n_samples)]


def test_a_grid_by_hand() -> None:
    seconds = [(start / RATE, end / RATE) for start, end in windows.grid(round(6.5 * RATE), CONFIG)]
    assert seconds == [(0.0, 3.0), (1.0, 4.0), (2.0, 5.0), (3.0, 6.0), (4.0, 6.5)]


def test_the_longest_recording_has_a_window_a_second() -> None:
    assert len(windows.grid(600 * RATE, CONFIG)) == 598


@pytest.mark.parametrize("n_samples", LENGTHS)
def test_the_grid_covers_the_whole_recording(n_samples: int) -> None:
    grid = windows.grid(n_samples, CONFIG)
    assert grid[0][0] == 0
    assert grid[-1][1] == n_samples
    assert [start for start, _ in grid] == [i * HOP for i in range(len(grid))]
    assert all(end - start == WINDOW for start, end in grid[:-1])
    assert WINDOW - HOP < grid[-1][1] - grid[-1][0] <= WINDOW


@pytest.mark.parametrize(("shorter", "longer"), list(itertools.pairwise(LENGTHS)))
def test_what_follows_moves_no_window_but_the_last(shorter: int, longer: int) -> None:
    before, after = windows.grid(shorter, CONFIG), windows.grid(longer, CONFIG)
    assert after[: len(before) - 1] == before[:-1]
    assert after[len(before) - 1][0] == before[-1][0]


# One answer from many.


def test_join_weighs_by_sound() -> None:
    rows = np.array([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])
    np.testing.assert_allclose(windows.join(rows, [3.0, 1.0]), [0.75, 0.125, 0.125])


def test_join_of_one_is_itself() -> None:
    row = np.random.default_rng(0).dirichlet(np.ones(8))
    np.testing.assert_array_equal(windows.join(row[np.newaxis], [0.7]), row)


def test_joined_probabilities_sum_to_1() -> None:
    rng = np.random.default_rng(1)
    joined = windows.join(rng.dirichlet(np.ones(8), size=500), rng.uniform(0.3, 3.0, 500).tolist())
    assert joined.sum() == pytest.approx(1.0, abs=1e-12)
    assert joined.min() > 0.0


def test_hull() -> None:
    assert windows.hull([Span(1.5, 3.0), Span(0.25, 2.0), Span(2.0, 2.5)]) == Span(0.25, 3.0)


# A window depends on the sound until its end alone, and hardly on any but its own.


def recording() -> sounds.Floats:
    """12.4 s: a loud voice, a quiet one, silence, and a tone, in which nobody speaks."""
    quiet = sounds.voice(3.0, pitch=220.0, level=0.02, seed=1)
    return np.concatenate([sounds.voice(4.0, level=0.9), quiet, sounds.silence(2.0), sounds.tone(3.4)])


def test_a_window_is_much_like_its_sound_alone() -> None:
    samples = recording()
    whole = stretches(samples, CONFIG)
    # The voice ends at 6.75 s: the windows from 7 s on hold silence and the tone alone.
    assert [part.spectrogram is not None for part in whole] == [True] * 7 + [False] * 4
    for part, (start, end) in zip(whole, windows.grid(len(samples), CONFIG), strict=True):
        alone = one_piece(samples[start:end], CONFIG)
        assert part.span == Span(start / RATE, end / RATE)
        assert part.peak_dbfs == pytest.approx(alone.peak_dbfs, abs=1.0)
        if part.sound is None or part.spectrogram is None or alone.sound is None or alone.spectrogram is None:
            assert (part.sound, part.spectrogram, alone.sound) == (None, None, None)
            continue
        assert start / RATE <= part.sound.start_s < part.sound.end_s <= end / RATE
        if start < 4 * RATE < end:
            # On its own it is brought to the loud voice's level, and the quiet one behind it is not heard.
            assert part.sound.end_s >= alone.sound.end_s + start / RATE - 0.1
            continue
        assert part.sound.start_s - start / RATE == pytest.approx(alone.sound.start_s, abs=0.1)
        assert part.sound.end_s - start / RATE == pytest.approx(alone.sound.end_s, abs=0.1)
        # The same frames, up to where between two samples each lies.
        assert part.spectrogram.max() == pytest.approx(1.0)
        frames = round(part.sound.duration_s * CONFIG.frame_rate)
        assert (part.spectrogram[:, frames:] == -1.0).all()
        means = [one[:, :frames].mean(axis=1) for one in (part.spectrogram, alone.spectrogram)]
        assert np.abs(means[0] - means[1]).mean() < 0.05


def test_a_steady_sound_is_told_exactly() -> None:
    """A tone of full scale under a voice's margin: levels and mel power by hand."""
    samples = np.concatenate([sounds.voice(8.0), sounds.tone(4.0, level=0.5)])
    part = stretches(samples, CONFIG)[-1]
    assert part.peak_dbfs == pytest.approx(20.0 * np.log10(0.5 / np.sqrt(2.0)), abs=0.05)
    assert part.voice_s == 0.0


@pytest.mark.parametrize("largest", [700, 20_000, 200_000])
def test_windows_are_the_same_in_whatever_pieces_sound_comes(largest: int) -> None:
    samples, rng = np.concatenate([recording(), sounds.voice(9.0, pitch=150.0, seed=4)]), np.random.default_rng(0)
    analysis, due, found, given = Analysis(CONFIG), windows.grid(len(samples), CONFIG), [], 0
    while given < len(samples):
        size = int(rng.integers(1, largest))
        analysis.push(samples[given : given + size])
        given += size
        while due and due[0][1] <= len(analysis):
            found.append(analysis.stretch(*due.pop(0)))
            if due:
                analysis.forget(due[0][0])
    for ours, theirs in zip(found, stretches(samples, CONFIG), strict=True):
        assert dataclasses.replace(ours, spectrogram=None, voice_s=0.0, peak_dbfs=0.0, sound_s=0.0) == (
            dataclasses.replace(theirs, spectrogram=None, voice_s=0.0, peak_dbfs=0.0, sound_s=0.0)
        )
        assert (ours.voice_s, ours.sound_s) == (theirs.voice_s, theirs.sound_s)
        assert ours.peak_dbfs == pytest.approx(theirs.peak_dbfs, abs=1e-9)
        if ours.spectrogram is not None and theirs.spectrogram is not None:
            np.testing.assert_allclose(ours.spectrogram, theirs.spectrogram, atol=1e-5)


def test_what_is_not_needed_any_more_is_forgotten() -> None:
    analysis, second = Analysis(CONFIG), sounds.voice(1.0)
    sizes = []
    for number in range(40):
        analysis.push(second)
        analysis.forget(max(0, (number - 3) * RATE))
        kept = (value for value in vars(analysis).values() if isinstance(value, Series))
        sizes.append(sum(len(series) - series.first for series in kept))
    assert len(analysis) == 40 * RATE
    assert max(sizes[10:]) <= max(sizes[:10])


def test_a_detector_that_failed_once_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = recording()
    analysis, working = Analysis(CONFIG), longform._requests()

    class Failing:
        def infer(self, *_: object) -> None:
            raise RuntimeError("broken")

    analysis.push(samples[: 2 * RATE])
    monkeypatch.setattr(longform, "_requests", Failing)
    with pytest.raises(RuntimeError, match="broken"):
        analysis.push(samples[2 * RATE : 3 * RATE])
    monkeypatch.setattr(longform, "_requests", lambda: working)
    analysis.push(samples[3 * RATE :])
    for window, expected in zip(windows.grid(len(samples), CONFIG), stretches(samples, CONFIG), strict=True):
        assert analysis.stretch(*window).sound == expected.sound


def test_a_sound_cards_constant_and_the_gain_change_nothing() -> None:
    plain = stretches(recording(), CONFIG)
    for changed in (stretches(0.2 * recording(), CONFIG), stretches(recording() + np.float32(0.05), CONFIG)):
        assert [part.sound is None for part in changed] == [part.sound is None for part in plain]


def test_a_stretch_is_cut_to_its_voice() -> None:
    """To the voice and its margin, not to the tones around it, which are as loud."""
    (part,) = stretches(np.concatenate([sounds.tone(1.0), sounds.voice(2.0), sounds.tone(1.5)]), CONFIG)
    assert part.sound is not None
    assert part.spectrogram is not None
    # The voice is from 1.25 to 2.75 s; its syllables swell and fade, and a frame is 32 ms.
    assert part.sound.start_s == pytest.approx(1.25 - CONFIG.voice_margin_s, abs=0.1)
    assert part.sound.end_s == pytest.approx(2.75 + CONFIG.voice_margin_s, abs=0.1)
    assert part.sound_s == pytest.approx(part.sound.duration_s, abs=1e-9)
    assert part.voice_s == pytest.approx(1.5, abs=0.1)
    frames = 1 + round(part.sound_s * RATE) // CONFIG.hop_length
    assert part.spectrogram.shape == (CONFIG.n_mels, features.padded_frames(frames, CONFIG))
    assert (part.spectrogram[:, frames:] == -1.0).all()


@pytest.mark.parametrize(
    ("samples", "sound_s"),
    [
        (sounds.silence(0.0), 0.0),
        (sounds.silence(2.0), 0.0),
        (sounds.tone(2.0), 2.0),
        (sounds.noise(2.0), 2.0),
        (np.full(2 * RATE, 0.3, np.float32), 0.0),
    ],
    ids=["nothing", "zeros", "tone", "noise", "constant"],
)
def test_a_stretch_without_voice_is_not_judged(samples: sounds.Floats, sound_s: float) -> None:
    (part,) = stretches(samples, CONFIG)
    assert (part.sound, part.spectrogram) == (None, None)
    assert part.sound_s == sound_s
    assert part.voice_s < CONFIG.min_voice_s


def test_what_comes_later_changes_no_earlier_window() -> None:
    recognizer, samples = bundles.recognizer(), recording()
    other = np.concatenate([samples[: 6 * RATE], sounds.noise(5.0, rms=0.3)])
    first, second = recognizer.predict(samples, RATE), recognizer.predict(other, RATE)
    for ours, theirs in zip(first.windows[:4], second.windows[:4], strict=True):
        assert ours.probabilities == pytest.approx(theirs.probabilities, abs=1e-6)
    assert first.windows[4].probabilities != pytest.approx(second.windows[4].probabilities, abs=1e-3)
