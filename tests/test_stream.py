"""A sound judged while it goes on: the windows of the same sound in one piece, from a memory that does not grow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ser_core
from ser_core import audio, stream, windows
from ser_core.config import FeatureConfig, Limits
from ser_core.errors import NoAudio, UnsupportedAudio
from ser_core.recognizer import Recognizer
from ser_core.stream import MAX_S, Stream
from tests import bundles, sounds

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from ser_core.backends import Output
    from ser_core.prediction import Window

CONFIG = FeatureConfig()
RATE = CONFIG.sample_rate
EXAMPLES = Path(ser_core.__file__).parent.parent / "assets" / "examples"
KINDS = {"48-kHz-stereo": (48_000, 2, "int16"), "44.1-kHz": (44_100, 1, "int16"), "16-kHz": (RATE, 1, "float32")}


def recording(kind: str, seconds: float | None = None) -> tuple[sounds.Samples, int]:
    """Two of the examples, a silence, a voice and a tone, as one of `KINDS`; the first `seconds` of it."""
    rate, channels, dtype = KINDS[kind]
    names = ("synthetic-loud-and-lively", "synthetic-slow-and-low")
    examples = [audio.read(EXAMPLES / f"{name}.wav", sample_rate=rate).samples for name in names]
    voice, tone = sounds.voice(4.0, rate, pitch=200.0), sounds.tone(3.217, rate)
    mono = np.concatenate([*examples, sounds.silence(4.0, rate), voice, tone])
    mono = mono[: None if seconds is None else round(seconds * rate)]
    samples = mono if channels == 1 else np.stack([mono, 0.3 * np.roll(mono, 20)], axis=1)
    return samples if dtype == "float32" else sounds.as_integers(samples, dtype), rate


def pieces(samples: sounds.Samples, largest: int, seed: int = 0) -> Iterator[sounds.Samples]:
    """The same in chunks of 1 to `largest` samples, drawn by chance."""
    rng, start = np.random.default_rng(seed), 0
    while start < len(samples):
        end = start + int(rng.integers(1, largest + 1))
        yield samples[start:end]
        start = end


def streamed(stream: Stream, samples: sounds.Samples, rate: int, largest: int | None = None) -> list[Window]:
    """All windows of a stream of those samples, to its end."""
    given = [window for piece in pieces(samples, largest or rate) for window in stream.push(piece, rate)]
    return given + list(stream.finish())


def assert_alike(ours: Any, theirs: Any, within: float = 1e-5) -> None:
    """The same windows, up to a few digits of the probabilities and the attention."""
    assert [window.start_s for window in ours] == [window.start_s for window in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert (one.end_s, one.sound, one.state, one.label) == (other.end_s, other.sound, other.state, other.label)
        assert one.probabilities == pytest.approx(other.probabilities, abs=within)
        assert one.attention == pytest.approx(other.attention, abs=within)


# A stream, and the same sound in one piece.


@bundles.needs_shipped
@pytest.mark.parametrize("kind", KINDS)
def test_the_windows_of_the_model_that_ships_are_those_of_the_upload(shipped: Recognizer, kind: str) -> None:
    samples, rate = recording(kind)
    whole = shipped.predict(samples, rate)
    assert {window.state for window in whole.windows} > {"no_speech"}
    assert whole.windows[-1].end_s - whole.windows[-1].start_s < CONFIG.window_s
    for largest in (rate // 7, 3 * rate):
        stream = Stream(shipped, keep_s=60.0)
        given = streamed(stream, samples, rate, largest)
        assert_alike(given, whole.windows)
        assert stream.windows == tuple(given)
        assert stream.duration_s == whole.duration_s


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_it_is_resampled_like_the_upload(small: Recognizer, rate: int) -> None:
    for seconds in (0.0101, 0.5, 2.70002):
        samples = sounds.as_integers(sounds.noise(seconds, rate), "int16")
        stream = Stream(small)
        streamed(stream, samples, rate, largest=2_000)
        np.testing.assert_array_equal(stream.recent.samples, audio.from_array(samples, rate).samples)


@pytest.mark.parametrize(
    "chunk",
    [
        sounds.as_integers(sounds.voice(3.5, 48_000), "uint8"),
        sounds.as_integers(sounds.voice(3.5, 48_000), "int32").astype(">i4"),
        sounds.voice(3.5, 48_000).astype(np.float64),
        np.stack([sounds.voice(3.5, 48_000), sounds.noise(3.5, 48_000)]).T,
        np.stack([sounds.voice(3.5, 48_000), sounds.noise(3.5, 48_000)], axis=1)[:, 0],
        np.broadcast_to(np.float32(0.25), (168_000,)),
        sounds.voice(3.5, 48_000).tolist(),
    ],
    ids=["uint8", "big-endian", "float64", "channel-by-channel", "every-second", "read-only", "list"],
)
def test_any_array_that_an_upload_may_be(small: Recognizer, chunk: Any) -> None:
    stream = Stream(small)
    stream.push(chunk, 48_000)
    stream.finish()
    np.testing.assert_array_equal(stream.recent.samples, audio.from_array(chunk, 48_000).samples)


@pytest.mark.parametrize("seconds", [0.2, 2.0, 3.0, 4.3, 6.0, 6.01, 7.0, 7.5])
@pytest.mark.parametrize("kind", KINDS)
def test_of_any_length_it_ends_with_the_windows_of_the_upload(small: Recognizer, seconds: float, kind: str) -> None:
    samples, rate = recording(kind, seconds)
    stream = Stream(small)
    given = streamed(stream, samples, rate)
    expected = small.predict(samples, rate).windows
    assert_alike(stream.windows, expected, within=1e-6)
    if seconds > CONFIG.one_piece_s:
        assert_alike(given, expected, within=1e-6)


def test_what_ends_early_becomes_one_piece(small: Recognizer) -> None:
    samples = sounds.voice(4.3)
    stream = Stream(small, keep_s=1.0)
    first, second = stream.push(samples, RATE)
    assert [(window.start_s, window.end_s) for window in (first, second)] == [(0.0, 3.0), (1.0, 4.0)]
    (one,) = stream.finish()
    assert (one.start_s, one.end_s) == (0.0, 4.3)
    assert stream.windows == (one,)


def test_full_windows_of_whatever_length_are_the_uploads() -> None:
    for n_samples in (*range(0, 5 * RATE, 7_919), 3 * RATE - 1, 3 * RATE, 4 * RATE, 70 * RATE + 5):
        full = stream._complete(n_samples, CONFIG)
        longer = windows.grid(max(n_samples, round(CONFIG.one_piece_s * RATE)) + 1, CONFIG)
        assert full == [(start, end) for start, end in longer if end <= n_samples and end - start == 3 * RATE]


# While it goes on.


def test_a_window_is_given_as_soon_as_it_is_full(small: Recognizer) -> None:
    samples, stream = sounds.voice(7.0), Stream(small)
    ends = []
    for number in range(70):
        given = stream.push(samples[number * RATE // 10 : (number + 1) * RATE // 10], RATE)
        ends += [(number + 1, window.end_s) for window in given]
    assert ends == [(30, 3.0), (40, 4.0), (50, 5.0), (60, 6.0), (70, 7.0)]
    assert stream.finish() == ()


def test_what_falls_due_at_once_is_judged_in_one_batch() -> None:
    backend = bundles.MeanBackend()
    stream = Stream(bundles.recognizer(backend, bundles.ANY_SOUND))
    given = stream.push(sounds.tone(30.0), RATE)
    assert len(given) == 28
    assert [shape[0] for shape in backend.shapes] == [28]


def test_in_silence_nobody_speaks(small: Recognizer) -> None:
    stream = Stream(small)
    given = streamed(stream, sounds.silence(8.5), RATE)
    assert [window.state for window in given] == ["no_speech"] * 7
    assert {(window.sound, window.label, window.attention) for window in given} == {(None, None, ())}
    assert not stream.recent.samples.any()


def test_before_any_sound_there_is_nothing(small: Recognizer) -> None:
    stream = Stream(small)
    assert (stream.windows, stream.duration_s, stream.done) == ((), 0.0, False)
    assert (stream.recent.samples.shape, stream.recent.start_s) == ((0,), 0.0)
    assert stream.finish() == ()
    assert stream.done
    assert stream.windows == ()


@pytest.mark.parametrize("empty", [np.zeros(0, np.int16), np.zeros((0, 2), np.float32), []], ids=["n", "n-2", "list"])
def test_a_chunk_of_nothing_changes_nothing(small: Recognizer, empty: Any) -> None:
    samples, rate = recording("44.1-kHz", 6.5)
    stream = Stream(small)
    # Not even the rate: that of a microphone which has given nothing yet may be anything.
    assert stream.push(empty, 48_000) == ()
    given: list[Window] = []
    for piece in pieces(samples, rate):
        given += stream.push(piece, rate)
        assert stream.push(empty, rate) == ()
    assert_alike([*given, *stream.finish()], small.predict(samples, rate).windows, within=1e-6)


def test_the_chunk_is_left_as_it_was_and_not_kept(small: Recognizer) -> None:
    chunk = sounds.voice(2.0)
    before, stream = chunk.copy(), Stream(small)
    stream.push(chunk, RATE)
    np.testing.assert_array_equal(chunk, before)
    chunk[:] = 0.0
    np.testing.assert_array_equal(stream.recent.samples, before)
    stream.recent.samples[:] = 0.0
    np.testing.assert_array_equal(stream.recent.samples, before)


def test_two_streams_of_one_recogniser_do_not_mix(small: Recognizer) -> None:
    one, other = sounds.voice(7.0), sounds.voice(7.0, 44_100, pitch=220.0, seed=1)
    first, second = Stream(small), Stream(small)
    given: tuple[list[Window], list[Window]] = ([], [])
    for number in range(7):
        given[0].extend(first.push(one[number * RATE : (number + 1) * RATE], RATE))
        given[1].extend(second.push(other[number * 44_100 : (number + 1) * 44_100], 44_100))
    assert_alike([*given[0], *first.finish()], small.predict(one, RATE).windows, within=1e-6)
    assert_alike([*given[1], *second.finish()], small.predict(other, 44_100).windows, within=1e-6)


def test_windows_that_the_network_failed_on_come_with_the_next() -> None:
    class Failing(bundles.MeanBackend):
        failing = True

        def infer(self, batch: npt.NDArray[np.float32]) -> Output:
            if self.failing:
                raise RuntimeError("out of memory")
            return super().infer(batch)

    backend, samples = Failing(), sounds.voice(7.5)
    stream = Stream(bundles.recognizer(backend), keep_s=1.0)
    for start in (0, 4 * RATE):
        with pytest.raises(RuntimeError, match="out of memory"):
            stream.push(samples[start : start + 3 * RATE], RATE)
    backend.failing = False
    given = [*stream.push(samples[3 * RATE : 4 * RATE], RATE), *stream.finish()]
    assert [window.start_s for window in given] == [0.0, 1.0, 2.0, 3.0, 4.0]


# Bounds.


def held(stream: Stream) -> dict[str, int]:
    """How much each thing in a stream's state holds, in bytes or pieces."""
    sizes = {}
    for name, value in vars(stream).items():
        if isinstance(value, np.ndarray):
            assert value.base is None
            sizes[name] = value.nbytes
        elif isinstance(value, (tuple, list)):
            sizes[name] = len(value)
    return sizes


@pytest.mark.parametrize(("rate", "keep_s"), [(RATE, 10.0), (48_000, 10.0), (RATE, 0.0), (RATE, 2.0)])
def test_what_is_held_does_not_grow(small: Recognizer, rate: int, keep_s: float) -> None:
    second, stream = sounds.tone(1.0, rate), Stream(small, keep_s=keep_s)
    sizes = {}
    for number in range(1, 111):
        stream.push(second, rate)
        sizes[number] = held(stream)
        assert len(stream.recent.samples) == round(min(keep_s, stream.duration_s) * RATE)
        assert stream.recent.start_s + len(stream.recent.samples) / RATE == pytest.approx(stream.duration_s)
        assert stream.duration_s == pytest.approx(number, abs=0.12)
    assert sizes[20] == sizes[60] == sizes[110]
    assert sizes[110]["_samples"] == 4 * RATE * max(keep_s, CONFIG.one_piece_s)
    assert all(window.end_s > stream.duration_s - keep_s for window in stream.windows)
    assert len(stream.windows) == {0.0: 0, 2.0: 2, 10.0: 10}[keep_s]


def test_one_large_chunk_is_let_go_of(small: Recognizer) -> None:
    stream = Stream(small)
    assert len(stream.push(sounds.silence(60.0), RATE)) == 58
    assert held(stream)["_samples"] == 4 * RATE * 10
    assert len(stream.windows) == 10


@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_at_its_longest_it_ends_by_itself(small: Recognizer, rate: int) -> None:
    samples = sounds.voice(9.0, rate)
    stream = Stream(small, max_s=7.4)
    given: list[Window] = []
    for start in range(0, len(samples), rate):
        given += stream.push(samples[start : start + rate], rate)
        assert stream.done == (start >= 7 * rate)
    assert stream.duration_s == pytest.approx(7.4, abs=1 / RATE)
    assert_alike(given, small.predict(samples[: round(7.4 * rate)], rate).windows, within=1e-6)
    assert stream.finish() == ()
    assert stream.push(np.full(10, np.nan), 96_000) == ()
    assert stream.windows == tuple(given)


def test_the_last_full_window_comes_with_the_sound_that_fills_it_up(small: Recognizer) -> None:
    stream = Stream(small, max_s=7.0)
    given = stream.push(sounds.voice(7.0, 48_000), 48_000)
    assert stream.done
    assert given[-1].end_s == 7.0


def test_its_longest_is_its_recognisers_where_that_is_less() -> None:
    limits = Limits(max_duration_s=1.5)
    stream = Stream(Recognizer(bundles.MeanBackend(), bundles.INFO, bundles.CALIBRATION, limits=limits))
    assert limits.max_duration_s < MAX_S
    (window,) = stream.push(sounds.voice(4.0), RATE)
    assert (stream.done, stream.duration_s, window.end_s) == (True, 1.5, 1.5)


def test_without_any_time_it_ends_at_once(small: Recognizer) -> None:
    stream = Stream(small, max_s=0.0)
    assert stream.push(sounds.voice(4.0, 48_000), 48_000) == ()
    assert (stream.done, stream.windows, stream.duration_s) == (True, (), 0.0)


def test_after_its_end_it_stays_as_it_is(small: Recognizer) -> None:
    stream = Stream(small)
    stream.push(sounds.voice(6.5), RATE)
    stream.finish()
    before = (stream.windows, stream.duration_s, held(stream))
    assert stream.push(sounds.voice(4.0), RATE) == ()
    assert stream.finish() == ()
    assert (stream.windows, stream.duration_s, held(stream)) == before


def test_another_grid_is_kept_to() -> None:
    config = replace(CONFIG, window_s=2.0, window_hop_s=0.5, one_piece_s=2.5)
    judge, samples = bundles.recognizer(config=config), sounds.voice(6.2)
    assert_alike(streamed(Stream(judge), samples, RATE), judge.predict(samples, RATE).windows, within=1e-6)


# What is refused.


def test_a_change_of_rate_is_refused(small: Recognizer) -> None:
    stream = Stream(small)
    stream.push(sounds.voice(2.0, 44_100), 44_100)
    with pytest.raises(UnsupportedAudio, match=r"started at 44,100 Hz and went on at 48,000 Hz\. Start it anew"):
        stream.push(sounds.voice(2.0, 48_000), 48_000)
    (window,) = stream.push(sounds.voice(1.5, 44_100), 44_100)
    assert window.end_s == 3.0


@pytest.mark.parametrize(
    ("chunk", "rate", "error", "says"),
    [
        (None, RATE, NoAudio, "no recording yet"),
        (np.array([0.0, np.nan], np.float32), RATE, UnsupportedAudio, "not numbers"),
        (np.array([0.0, -np.inf]), RATE, UnsupportedAudio, "not numbers"),
        (np.array([1e30], np.float32), RATE, UnsupportedAudio, "full scale is 1"),
        (np.zeros((2, 3, 4)), RATE, UnsupportedAudio, r"\(2, 3, 4\)"),
        (np.zeros((2, 480)), RATE, UnsupportedAudio, "channels first"),
        (np.zeros((480, 9)), RATE, UnsupportedAudio, "9 channels; 1 to 8"),
        (np.zeros(10, complex), RATE, UnsupportedAudio, "complex128"),
        (sounds.tone(), None, UnsupportedAudio, "sample_rate"),
        (sounds.tone(), 0, UnsupportedAudio, "rate of 0 Hz"),
        (sounds.tone(), 4_000, UnsupportedAudio, "4,000 Hz"),
        (sounds.tone(), 44_100.5, UnsupportedAudio, "whole number of Hz"),
    ],
)
def test_a_chunk_that_is_no_sound_leaves_the_stream_as_it_was(
    small: Recognizer, chunk: Any, rate: Any, error: type[Exception], says: str
) -> None:
    samples, stream = sounds.voice(6.5), Stream(small)
    with pytest.raises(error, match=says):
        stream.push(chunk, rate)
    given = list(stream.push(samples[: 4 * RATE], RATE))
    with pytest.raises(error, match=says):
        stream.push(chunk, rate)
    given += [*stream.push(samples[4 * RATE :], RATE), *stream.finish()]
    assert_alike(given, small.predict(samples, RATE).windows, within=1e-6)
