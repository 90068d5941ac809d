"""The grid of windows, and one answer from many."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ser_core import features, windows
from ser_core.config import FeatureConfig
from ser_core.prediction import Span
from ser_core.windows import stretches
from tests import bundles, sounds

CONFIG = FeatureConfig()
RATE = CONFIG.sample_rate
ONE_PIECE, WINDOW, HOP = (round(s * RATE) for s in (CONFIG.one_piece_s, CONFIG.window_s, CONFIG.window_hop_s))
LENGTHS = [ONE_PIECE + 1, ONE_PIECE + HOP - 1, ONE_PIECE + HOP, ONE_PIECE + HOP + 1, 7 * RATE + 123, 60 * RATE]


@pytest.mark.parametrize("n_samples", [0, 1, RATE, ONE_PIECE - 1, ONE_PIECE])
def test_up_to_five_seconds_is_one_piece(n_samples: int) -> None:
    assert ONE_PIECE == 5 * RATE
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


# A window depends on its own stretch of sound alone.


def recording() -> sounds.Floats:
    """12.4 s: a loud voice, a quiet one, silence, and a tone, in which nobody speaks."""
    quiet = sounds.voice(3.0, pitch=220.0, level=0.02, seed=1)
    return np.concatenate([sounds.voice(4.0, level=0.9), quiet, sounds.silence(2.0), sounds.tone(3.4)])


def test_features_of_a_window_are_those_of_its_sound_alone() -> None:
    samples = recording()
    whole = stretches(samples, CONFIG)
    # The voice ends at 6.75 s: the windows from 7 s on hold silence and the tone alone.
    assert [part.spectrogram is not None for part in whole] == [True] * 7 + [False] * 4
    for part, (start, end) in zip(whole, windows.grid(len(samples), CONFIG), strict=True):
        (alone,) = stretches(samples[start:end], CONFIG)
        assert part.span == Span(start / RATE, end / RATE)
        assert part.sound_s == alone.sound_s
        assert part.voice_s == alone.voice_s
        assert part.peak_dbfs == alone.peak_dbfs
        if alone.spectrogram is None or alone.sound is None:
            assert part.spectrogram is None
            assert part.sound is None
        else:
            assert part.sound is not None
            np.testing.assert_array_equal(part.spectrogram, alone.spectrogram)
            assert part.sound.start_s - part.span.start_s == pytest.approx(alone.sound.start_s, abs=1e-9)
            assert part.sound.end_s - part.span.start_s == pytest.approx(alone.sound.end_s, abs=1e-9)


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


def test_the_answer_of_a_window_is_that_of_its_sound_alone() -> None:
    recognizer, samples = bundles.recognizer(), recording()
    whole = recognizer.predict(samples, RATE)
    for window, (start, end) in zip(whole.windows, windows.grid(len(samples), CONFIG), strict=True):
        alone = recognizer.predict(samples[start:end], RATE)
        assert (window.state, window.label) == (alone.state, alone.label)
        assert window.probabilities == pytest.approx(alone.probabilities, abs=1e-6)
        assert window.attention == pytest.approx(alone.windows[0].attention, abs=1e-6)


def test_what_comes_later_changes_no_earlier_window() -> None:
    recognizer, samples = bundles.recognizer(), recording()
    other = np.concatenate([samples[: 6 * RATE], sounds.noise(5.0, rms=0.3)])
    first, second = recognizer.predict(samples, RATE), recognizer.predict(other, RATE)
    for ours, theirs in zip(first.windows[:4], second.windows[:4], strict=True):
        assert ours.probabilities == pytest.approx(theirs.probabilities, abs=1e-6)
    assert first.windows[4].probabilities != pytest.approx(second.windows[4].probabilities, abs=1e-3)
