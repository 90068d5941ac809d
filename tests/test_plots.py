"""The pictures: what is where, in which colours, for any recording."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest

from ser_core import overlays, plots
from ser_core.config import FeatureConfig
from ser_core.emotions import COLOURS, LABELS, Emotion
from ser_core.prediction import Span, State, Window
from ser_core.timeline import Segment

CONFIG = FeatureConfig()
LAYOUT = plots.LAYOUT


def tone(hertz: float, seconds: float = 2.0) -> npt.NDArray[np.float32]:
    time_s = np.arange(round(seconds * CONFIG.sample_rate)) / CONFIG.sample_rate
    return (0.5 * np.sin(2.0 * np.pi * hertz * time_s)).astype(np.float32)


def heat(samples: npt.NDArray[np.float32], sound: Span | None = None) -> npt.NDArray[np.float64]:
    """The spectrogram part of the picture as brightness, (plot_height, plot_width)."""
    picture: npt.NDArray[np.float64] = np.asarray(plots.spectrogram(samples, CONFIG, sound), dtype=np.float64).sum(
        axis=2
    )
    return picture[LAYOUT.top : LAYOUT.top + LAYOUT.plot_height, LAYOUT.left : LAYOUT.left + LAYOUT.plot_width]


@pytest.mark.parametrize("hertz", [250, 500, 1000, 2000, 4000])
def test_a_tone_lies_at_its_tick(hertz: int) -> None:
    brightest = int(heat(tone(hertz)).mean(axis=1).argmax())
    height = dict(plots.frequency_ticks(CONFIG))[hertz]
    band = LAYOUT.plot_height / CONFIG.n_mels
    assert abs(brightest + 0.5 - (1.0 - height) * LAYOUT.plot_height) <= band


def test_a_sound_lies_at_its_time() -> None:
    samples = np.zeros(4 * CONFIG.sample_rate, dtype=np.float32)
    samples[CONFIG.sample_rate : 2 * CONFIG.sample_rate] = tone(1000, 1.0)
    loud = heat(samples).max(axis=0) > 0.5 * heat(samples).max()
    columns = np.flatnonzero(loud)
    assert columns[0] / LAYOUT.plot_width * 4.0 == pytest.approx(1.0, abs=0.06)
    assert columns[-1] / LAYOUT.plot_width * 4.0 == pytest.approx(2.0, abs=0.06)


def test_what_was_not_judged_is_dimmed_and_the_span_is_marked() -> None:
    samples = tone(1000, 4.0)
    plain, marked = heat(samples), heat(samples, Span(1.0, 3.0))
    middle = slice(round(LAYOUT.plot_width * 0.3), round(LAYOUT.plot_width * 0.7))
    edge = slice(0, round(LAYOUT.plot_width * 0.2))
    assert np.array_equal(plain[:, middle], marked[:, middle])
    assert marked[:, edge].max() < 0.6 * plain[:, edge].max()
    picture = np.asarray(plots.spectrogram(samples, CONFIG, Span(1.0, 3.0)))
    bar = np.flatnonzero((picture[LAYOUT.top - 6] == overlays.MARK).all(axis=1))
    assert (bar[0] - LAYOUT.left) / LAYOUT.plot_width * 4.0 == pytest.approx(1.0, abs=0.02)
    assert (bar[-1] - LAYOUT.left) / LAYOUT.plot_width * 4.0 == pytest.approx(3.0, abs=0.02)


@pytest.mark.parametrize("n_samples", [0, 1, 100, 16_000, 16_000 * 600])
def test_the_picture_has_one_size_for_any_length(n_samples: int) -> None:
    noise = np.random.default_rng(0).normal(size=n_samples).astype(np.float32) * 0.1
    picture = plots.spectrogram(noise, CONFIG, Span(0.0, n_samples / CONFIG.sample_rate))
    assert picture.size == (LAYOUT.width, LAYOUT.height)
    assert picture.mode == "RGB"


def test_silence_and_a_span_beyond_the_end_draw_too() -> None:
    assert heat(np.zeros(16_000, dtype=np.float32)).max() == plots.colour_map()[0].sum()
    assert plots.spectrogram(tone(500, 1.0), CONFIG, Span(-1.0, 9.0)).size == (LAYOUT.width, LAYOUT.height)


def test_both_axes_carry_text() -> None:
    ground = np.array(overlays.GROUND)
    picture = np.asarray(plots.spectrogram(tone(500), CONFIG))
    assert (picture[:, : LAYOUT.left - 12] != ground).any(axis=2).sum() > 500
    assert (picture[LAYOUT.top + LAYOUT.plot_height + 10 :] != ground).any(axis=2).sum() > 500


def test_many_threads_draw_what_one_draws() -> None:
    samples = [tone(hertz) for hertz in (200, 400, 800, 1600)] * 4
    alone = [np.asarray(plots.spectrogram(one, CONFIG, Span(0.5, 1.5))) for one in samples]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda one: np.asarray(plots.spectrogram(one, CONFIG, Span(0.5, 1.5))), samples))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


@pytest.mark.parametrize(
    ("duration_s", "ticks"),
    [
        (0.0, [0.0]),
        (0.3, [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3]),
        (3.4, [0.0, 1.0, 2.0, 3.0]),
        (6.0, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        (600.0, [0.0, 100.0, 200.0, 300.0, 400.0, 500.0, 600.0]),
    ],
)
def test_times_are_round(duration_s: float, ticks: list[float]) -> None:
    assert plots.time_ticks(duration_s) == pytest.approx(ticks)


def test_frequencies_are_octaves_from_bottom_to_top() -> None:
    ticks = plots.frequency_ticks(CONFIG)
    assert [hertz for hertz, _ in ticks] == [125, 250, 500, 1000, 2000, 4000, 8000]
    heights = [height for _, height in ticks]
    assert heights == sorted(heights)
    assert heights[-1] == 1.0
    # 1 kHz is mel 15 (Slaney); 0 Hz is 0, 8 kHz is 15 + 27 ln(8) / ln(6.4) = 45.25: step 26.85 of 81.
    assert heights[3] == pytest.approx((81 * 15 / 45.2455 - 0.5) / 80, abs=1e-4)


def test_the_colour_map_grows_brighter_all_the_way() -> None:
    colours = plots.colour_map().astype(np.float64)
    assert colours.shape == (256, 3)
    luminance = colours @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(luminance) >= 0.0).all()


def test_the_picture_is_told_in_words() -> None:
    assert plots.describe(3.44, None) == "Spectrogram of 3.4 seconds of recording, in which no voice was found."
    assert "from 0.4 to 2.8 seconds" in plots.describe(3.44, Span(0.41, 2.8))


def judged(start_s: float, end_s: float, attention: tuple[float, ...]) -> Window:
    """A window whose sound was this span."""
    return Window(start_s, end_s, Span(start_s, end_s), "ok", "sad", 1.0, {}, attention)


def test_what_was_listened_to_stands_where_it_was_heard() -> None:
    curve = plots.listened([judged(1.0, 3.0, (0.1, 0.6, 0.2, 0.1))], Span(0.0, 4.0), 400)
    assert np.isnan(curve[:100]).all()
    assert np.isnan(curve[300:]).all()
    assert curve[100:300].tolist() == pytest.approx([1 / 6] * 50 + [1.0] * 50 + [1 / 3] * 50 + [1 / 6] * 50)


def test_windows_that_overlap_are_averaged_and_count_alike_by_the_second() -> None:
    # Even attention is even, however long a window is and however many slices it has.
    even = plots.listened([judged(0.0, 3.0, (0.25,) * 4), judged(1.0, 4.0, (0.5, 0.5))], Span(0.0, 4.0), 40)
    assert even.tolist() == pytest.approx([1.0] * 40)
    first = plots.listened([judged(0.0, 2.0, (1.0, 0.0)), judged(1.0, 3.0, (0.5, 0.5))], Span(0.0, 3.0), 3)
    assert first.tolist() == pytest.approx([1.0, 0.25, 0.5])


def test_where_nothing_was_judged_there_is_no_line() -> None:
    silent = Window(0.0, 2.0, None, "no_speech", None, None, {}, ())
    for windows in ([], [silent]):
        assert np.isnan(plots.listened(windows, Span(0.0, 2.0), 50)).all()


def test_the_line_is_drawn_high_where_it_listened() -> None:
    window = judged(0.0, 2.0, (0.1, 0.9))
    plain, drawn = (
        np.asarray(plots.spectrogram(np.zeros(32_000, np.float32), CONFIG, Span(0.0, 2.0), windows)).astype(int)
        for windows in ((), (window,))
    )
    rows, columns = np.nonzero((plain != drawn).any(axis=2))
    assert (drawn[rows, columns] == overlays.LISTENED).all()
    middle = LAYOUT.left + LAYOUT.plot_width // 2
    low, high = rows[columns < middle - 5], rows[columns > middle + 5]
    assert low.min() > high.max()
    assert low.max() < LAYOUT.top + LAYOUT.plot_height
    assert high.min() >= LAYOUT.top + LAYOUT.plot_height * 0.7


def test_the_words_say_where_it_listened_most() -> None:
    said = plots.describe(4.0, Span(1.0, 3.0), [judged(1.0, 3.0, (0.0, 0.0, 1.0, 0.0))])
    assert said.endswith("a line along the bottom rises where the model listened, most at 2.0 seconds.")


# The strip of emotions.


def told(start_s: float, end_s: float, label: str | None, state: State = "ok") -> Segment:
    return Segment(start_s, end_s, state, label, None if label is None else 0.9, {})


def strip(segments: list[Segment], seconds: float = 4.0) -> npt.NDArray[np.uint8]:
    """The rows between spectrogram and time axis, uint8 (STRIP_HEIGHT, width, 3); in all alike."""
    silence = np.zeros(round(seconds * CONFIG.sample_rate), np.float32)
    picture = np.asarray(plots.spectrogram(silence, CONFIG, Span(0.0, seconds), segments=segments))
    top = LAYOUT.height - LAYOUT.bottom - overlays.STRIP_HEIGHT
    rows = picture[top : top + overlays.STRIP_HEIGHT]
    assert (rows == rows[:1]).all()
    gap = picture[top - overlays.STRIP_GAP : top, LAYOUT.left + 2 : LAYOUT.left + LAYOUT.plot_width - 2]
    assert (gap == overlays.GROUND).all()
    return rows


def rgb(code: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(code.removeprefix("#")))


def test_each_emotion_lies_at_its_time_in_its_colour() -> None:
    assert 10 <= overlays.STRIP_HEIGHT <= 14
    row = strip([told(i / 2, (i + 1) / 2, label) for i, label in enumerate(LABELS)])[0]
    edges = np.round(np.linspace(LAYOUT.left, LAYOUT.left + LAYOUT.plot_width, len(LABELS) + 1)).astype(int)
    for start, end, label in zip(edges[:-1], edges[1:], LABELS, strict=True):
        assert (row[start:end] == rgb(COLOURS[Emotion(label)])).all()
    assert (row[: edges[0]] == overlays.GROUND).all()
    assert (row[edges[-1] :] == overlays.GROUND).all()


def test_what_is_uncertain_is_half_as_strong_and_no_voice_is_no_colour() -> None:
    row = strip([told(0.0, 1.0, "happy", "uncertain"), told(1.0, 4.0, None, "no_speech")])[0].astype(int)
    quarter = LAYOUT.left + LAYOUT.plot_width // 4
    halfway = (np.array(rgb(COLOURS[Emotion.HAPPY])) + overlays.GROUND) / 2
    assert np.abs(row[LAYOUT.left : quarter] - halfway).max() <= 0.5
    assert (row[quarter:] == overlays.GROUND).all()


def test_the_strip_is_drawn_only_when_given_and_the_picture_keeps_its_size() -> None:
    samples, sound = tone(1000, 4.0), Span(0.0, 4.0)
    plain = plots.spectrogram(samples, CONFIG, sound)
    with_strip = plots.spectrogram(samples, CONFIG, sound, segments=[told(0.0, 4.0, "sad")])
    assert with_strip.size == plain.size == (LAYOUT.width, LAYOUT.height)
    assert np.array_equal(np.asarray(plots.spectrogram(samples, CONFIG, sound, segments=[])), np.asarray(plain))
    sad = (np.asarray(with_strip) == rgb(COLOURS[Emotion.SAD])).all(axis=2)
    assert sad.sum() == overlays.STRIP_HEIGHT * LAYOUT.plot_width
    # The time axis stays where it is, below the strip; into its first row the lines at the span's ends reach.
    axis = slice(LAYOUT.height - LAYOUT.bottom + 1, LAYOUT.height)
    assert np.array_equal(np.asarray(with_strip)[axis, LAYOUT.left :], np.asarray(plain)[axis, LAYOUT.left :])


@pytest.mark.parametrize("seconds", [0.0, 0.001, 600.0])
def test_a_strip_of_any_length(seconds: float) -> None:
    samples = np.zeros(round(seconds * CONFIG.sample_rate), np.float32)
    spans = itertools.pairwise(np.linspace(0.0, seconds, 3001).tolist())
    segments = [told(*span, LABELS[i % 8]) for i, span in enumerate(spans)]
    for sound in (None, Span(0.0, seconds)):
        picture = plots.spectrogram(samples, CONFIG, sound, segments=segments)
        assert picture.size == (LAYOUT.width, LAYOUT.height)


def test_the_words_mention_the_strip_where_there_is_one() -> None:
    sound, segments = Span(1.0, 3.0), [told(0.0, 4.0, "sad")]
    plain, said = plots.describe(4.0, sound), plots.describe(4.0, sound, (), segments)
    assert said == f"{plain} A strip below shows the emotions in their colours."
    silent = [told(0.0, 4.0, None, "no_speech")]
    assert plots.describe(4.0, None, (), silent) == plots.describe(4.0, None)
