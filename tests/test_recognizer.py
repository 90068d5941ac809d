"""A path or an array in, a Prediction out: the same one on every way in, and from many threads."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile as sf

import ser_core
from ser_core import audio, recognizer, voice, windows
from ser_core.config import CONTRACT, FeatureConfig, Limits
from ser_core.emotions import LABELS
from ser_core.errors import AudioTooLong, BundleError, NoAudio, SerError, UnsupportedAudio
from ser_core.prediction import Span
from tests import bundles, sounds
from tests.bundles import logits_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ser_core.prediction import Prediction
    from ser_core.recognizer import Recognizer

CONFIG = FeatureConfig()
RATE = CONFIG.sample_rate
LONG_S = CONFIG.one_piece_s + 1.0
"""Longer than what is judged in one piece: five windows."""
SLICE = CONFIG.hop_length * CONTRACT.attention_stride
"""Samples for which one number of the attention stands: 80 ms."""
CALLS = 200 if os.environ.get("SER_SLOW") else 25
"""Calls of each of the eight threads; SER_SLOW=1 asks for as many as the demo promises to stand."""


def answer(prediction: Prediction) -> dict[str, Any]:
    """All that must agree between two ways to the same sound: everything but the time it took."""
    fields = prediction.to_dict()
    del fields["timings"]
    return fields


# One recording, one answer.


@pytest.mark.parametrize("seconds", [2.0, 6.5], ids=["one-piece", "windows"])
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (48_000, 1), (44_100, 2)])
def test_path_array_and_sound_agree_to_the_bit(
    small: Recognizer, tmp_path: Path, seconds: float, rate: int, channels: int
) -> None:
    samples = sounds.voice(seconds, rate)
    if channels == 2:
        samples = np.stack([samples, 0.3 * sounds.voice(seconds, rate, pitch=200.0, seed=1)], axis=1)
    integers = sounds.as_integers(samples, "int16")
    path = tmp_path / "voice.wav"
    sf.write(path, integers, rate)
    expected = answer(small.predict(path))
    assert answer(small.predict(str(path))) == expected
    assert answer(small.predict(integers, rate)) == expected
    assert answer(small.predict(integers.astype(np.float32) / 32768, rate)) == expected
    assert answer(small.predict(audio.read(path))) == expected
    assert answer(small.predict(small.read(path))) == expected
    assert len(expected["windows"]) == (1 if seconds < CONFIG.one_piece_s else 5)


@bundles.needs_shipped
def test_path_array_and_sound_agree_on_the_model_that_ships(shipped: Recognizer, tmp_path: Path) -> None:
    integers = sounds.as_integers(sounds.voice(3.0, 44_100), "int16")
    path = tmp_path / "voice.flac"
    sf.write(path, integers, 44_100)
    expected = answer(shipped.predict(path))
    assert expected["state"] in ("ok", "uncertain")
    assert answer(shipped.predict(integers, 44_100)) == expected
    assert answer(shipped.predict(shipped.read(path))) == expected


def test_asked_twice_it_says_the_same(small: Recognizer) -> None:
    voice = sounds.voice(LONG_S)
    assert answer(small.predict(voice, RATE)) == answer(small.predict(voice, RATE))


def test_the_recording_is_left_as_it_was(small: Recognizer) -> None:
    voice = sounds.voice(LONG_S)
    before = voice.copy()
    small.predict(voice, RATE)
    np.testing.assert_array_equal(voice, before)


# What an answer says.


def test_probabilities_are_the_softmax_of_the_logits_in_order() -> None:
    logits = [0.5, -1.0, 2.0, 0.0, 1.5, -0.5, 0.25, 1.0]
    prediction = bundles.recognizer(bundles.ScriptedBackend(logits)).predict(sounds.voice(), RATE)
    shares = np.exp(logits) / np.exp(logits).sum()
    assert tuple(prediction.probabilities) == LABELS
    np.testing.assert_allclose(list(prediction.probabilities.values()), shares, rtol=1e-6)
    assert sum(prediction.probabilities.values()) == pytest.approx(1.0, abs=1e-12)
    assert prediction.label == "happy"
    assert prediction.confidence == prediction.probabilities["happy"]


def test_temperature_divides_the_logits() -> None:
    logits = [0.5, -1.0, 2.0, 0.0, 1.5, -0.5, 0.25, 1.0]
    prediction = bundles.recognizer(bundles.ScriptedBackend(logits), temperature=2.0).predict(sounds.voice(), RATE)
    halved = np.exp(np.array(logits) / 2)
    np.testing.assert_allclose(list(prediction.probabilities.values()), halved / halved.sum(), rtol=1e-6)


@pytest.mark.parametrize(("threshold", "state"), [(0.0, "ok"), (0.59, "ok"), (0.61, "uncertain"), (1.0, "uncertain")])
def test_below_the_threshold_it_is_uncertain(threshold: float, state: str) -> None:
    backend = bundles.ScriptedBackend(logits_of(angry=0.6))
    prediction = bundles.recognizer(backend, uncertain_below=threshold).predict(sounds.voice(LONG_S), RATE)
    assert prediction.state == state
    assert {window.state for window in prediction.windows} == {state}
    assert prediction.label == "angry"
    assert prediction.confidence == pytest.approx(0.6)


def test_extreme_logits_stay_probabilities() -> None:
    prediction = bundles.recognizer(bundles.ScriptedBackend([1e4, -1e4, *[0.0] * 6])).predict(sounds.voice(), RATE)
    assert prediction.probabilities["neutral"] == 1.0
    assert sum(prediction.probabilities.values()) == 1.0


def test_several_windows_become_their_mean_weighted_by_sound(small: Recognizer) -> None:
    recording = np.concatenate([sounds.voice(4.0), sounds.silence(2.5), sounds.voice(1.5, pitch=220.0, seed=2)])
    prediction = small.predict(recording, RATE)
    voiced = [(window, window.sound) for window in prediction.windows if window.sound is not None]
    weights = np.array([span.duration_s for _, span in voiced])
    assert len(voiced) > 1
    assert np.ptp(weights) > 0.5
    for label in LABELS:
        shares = np.array([window.probabilities[label] for window, _ in voiced])
        assert prediction.probabilities[label] == pytest.approx(float((shares * weights).sum() / weights.sum()))
    assert sum(prediction.probabilities.values()) == pytest.approx(1.0, abs=1e-12)
    assert prediction.sound is not None
    assert prediction.sound.start_s == min(span.start_s for _, span in voiced)
    assert prediction.sound.end_s == max(span.end_s for _, span in voiced)


def test_windows_without_sound_claim_nothing(small: Recognizer) -> None:
    recording = np.concatenate([sounds.voice(3.0), sounds.silence(6.0)])
    prediction = small.predict(recording, RATE)
    silent = prediction.windows[-1]
    assert (silent.start_s, silent.end_s) == (6.0, 9.0)
    assert (silent.state, silent.label, silent.confidence) == ("no_speech", None, None)
    assert (silent.sound, silent.probabilities, silent.attention) == (None, {}, ())
    assert prediction.state == "ok"
    assert prediction.sound is not None
    assert prediction.sound.end_s < 3.1


def test_spans_lie_within_the_recording(small: Recognizer) -> None:
    recording = np.concatenate([sounds.silence(0.8), sounds.voice(2.0), sounds.silence(1.2)])
    prediction = small.predict(recording, RATE)
    assert prediction.duration_s == 4.0
    assert prediction.sound is not None
    assert prediction.sound.start_s == pytest.approx(1.05, abs=0.1)
    assert prediction.sound.end_s == pytest.approx(2.55, abs=0.1)
    assert [(window.start_s, window.end_s) for window in prediction.windows] == [(0.0, 4.0)]


# Attention.


@pytest.mark.parametrize("seconds", [0.5, 1.0, 1.92, 3.3, 6.0, 8.7])
def test_attention_sums_to_1_over_the_sound(seconds: float) -> None:
    for window in bundles.recognizer(config=bundles.ANY_SOUND).predict(sounds.tone(seconds), RATE).windows:
        assert window.sound is not None
        assert sum(window.attention) == pytest.approx(1.0, abs=1e-12)
        assert min(window.attention) > 0.0
        slice_s = SLICE / RATE
        assert slice_s * (len(window.attention) - 1) < window.sound.duration_s + 1e-9
        assert window.sound.duration_s <= slice_s * len(window.attention) + 1e-9


def test_attention_of_whole_slices_has_no_slice_more() -> None:
    """In seconds, start and end of a sound may differ by a hair more than its 8 slices."""
    even = np.full(24, 1 / 24, np.float32)
    for offset in range(200):
        start = offset * CONFIG.trim_hop_length / RATE
        duration_s = Span(start, start + 8 * SLICE / RATE).duration_s
        assert len(bundles.recognizer()._attention(even, duration_s)) == 8


def test_attention_on_what_was_filled_up_is_left_out() -> None:
    # 1 s of sound are 12.5 slices of 24; the network gave half of its attention to the silence behind them.
    behind = CONFIG.min_frames // CONTRACT.attention_stride - 13
    backend = bundles.ScriptedBackend([0.0] * 8, attention=[0.5 / 13] * 13 + [0.5 / behind] * behind)
    (window,) = bundles.recognizer(backend, bundles.ANY_SOUND).predict(sounds.tone(1.0), RATE).windows
    np.testing.assert_allclose(window.attention, [1 / 13] * 13, rtol=1e-6)


def test_attention_on_nothing_but_what_was_filled_up_becomes_even() -> None:
    last = CONFIG.min_frames // CONTRACT.attention_stride - 1
    backend = bundles.ScriptedBackend([0.0] * 8, attention=[0.0] * last + [1.0])
    (window,) = bundles.recognizer(backend, bundles.ANY_SOUND).predict(sounds.tone(1.0), RATE).windows
    np.testing.assert_allclose(window.attention, [1 / 13] * 13)


# No voice.


@pytest.mark.parametrize(
    ("samples", "codes"),
    [
        (sounds.silence(1 / RATE), ["silence"]),
        (sounds.silence(2.0), ["silence"]),
        (sounds.silence(12.0), ["silence"]),
        (np.full(2 * RATE, 1e-5, np.float32), ["silence"]),
        (np.full(2 * RATE, 0.5, np.float32), ["silence"]),
        (sounds.noise(2.0, rms=1e-4), ["silence"]),
        (1e-4 * sounds.voice(2.0), ["silence"]),
        (sounds.tone(0.1), ["too_short"]),
        (sounds.tone(0.299), ["no_voice", "too_short"]),
        (np.concatenate([sounds.silence(1.0), sounds.tone(0.1), sounds.silence(1.0)]), ["no_voice", "too_short"]),
    ],
    ids=[
        "one-zero",
        "zeros",
        "long-zeros",
        "offset",
        "high-offset",
        "faint",
        "faint-voice",
        "0.1-s",
        "just-under",
        "blip",
    ],
)
def test_no_voice_claims_no_emotion(small: Recognizer, samples: sounds.Floats, codes: list[str]) -> None:
    prediction = small.predict(samples, RATE)
    assert (prediction.state, prediction.label, prediction.confidence) == ("no_speech", None, None)
    assert prediction.probabilities == {}
    assert prediction.sound is None
    assert {window.state for window in prediction.windows} == {"no_speech"}
    assert [note.code for note in prediction.notes] == codes
    assert prediction.duration_s == len(samples) / RATE


@pytest.mark.parametrize("seconds", [2.0, 8.0], ids=["one-piece", "windows"])
@pytest.mark.parametrize(
    "kind",
    [sounds.noise, sounds.tone, partial(sounds.tone, frequency=150.0), partial(sounds.tone, frequency=3_000.0)],
    ids=["noise", "tone", "low-tone", "high-tone"],
)
def test_sound_that_is_no_voice_claims_no_emotion(kind: Callable[[float], sounds.Floats], seconds: float) -> None:
    backend = bundles.MeanBackend()
    prediction = bundles.recognizer(backend).predict(kind(seconds), RATE)
    assert (prediction.state, prediction.label, prediction.confidence) == ("no_speech", None, None)
    assert (prediction.probabilities, prediction.sound) == ({}, None)
    assert [note.code for note in prediction.notes] == ["no_voice"]
    assert "nobody was heard to speak or sing" in prediction.notes[0].message
    assert backend.shapes == []


def test_no_voice_is_told_also_where_the_sound_comes_late(small: Recognizer) -> None:
    prediction = small.predict(np.concatenate([sounds.silence(6.0), sounds.noise(3.0)]), RATE)
    assert prediction.state == "no_speech"
    assert [note.code for note in prediction.notes] == ["no_voice"]


def test_a_little_in_every_window_is_no_voice_either(small: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows overlap: what each of them holds too little of doesn't add up to an answer without a reason."""

    class Seldom:
        """In place of the detector's network: three frames of 32 ms in each window of 3 s."""

        def infer(self, inputs: dict[str, Any], names: list[str]) -> list[Any]:
            found = np.zeros(len(inputs["input"]), np.float32)
            found[10::31] = 1.0
            return [found, inputs["h"], inputs["c"]]

    monkeypatch.setattr(voice.detector(), "requests", Seldom())
    prediction = small.predict(sounds.noise(8.0), RATE)
    assert len(prediction.windows) == 6
    assert prediction.state == "no_speech"
    assert [note.code for note in prediction.notes] == ["no_voice"]


def test_a_tone_beside_a_voice_is_not_judged(small: Recognizer) -> None:
    prediction = small.predict(np.concatenate([sounds.voice(3.0), sounds.tone(6.0)]), RATE)
    assert [window.state for window in prediction.windows] == ["ok"] * 3 + ["no_speech"] * 4
    assert prediction.state == "ok"
    assert prediction.sound is not None
    assert prediction.sound.end_s == pytest.approx(2.75 + CONFIG.voice_margin_s, abs=0.1)
    assert prediction.notes == ()


def test_from_0_3_s_on_there_is_an_answer(small: Recognizer) -> None:
    spoken = sounds.voice()[RATE // 2 :]
    enough, less = (small.predict(spoken[: round(seconds * RATE)], RATE) for seconds in (0.3, 0.29))
    assert (enough.state, [note.code for note in enough.notes]) == ("ok", ["short"])
    assert (less.state, [note.code for note in less.notes]) == ("no_speech", ["too_short"])


@pytest.mark.parametrize("gain_db", [-20.0, 20.0])
def test_level_makes_no_difference(small: Recognizer, gain_db: float) -> None:
    recording = np.concatenate([sounds.voice(3.0, level=0.1), sounds.tone(4.0, level=0.05)])
    plain, changed = (small.predict(np.float32(gain) * recording, RATE) for gain in (1.0, 10 ** (gain_db / 20.0)))
    assert [window.state for window in changed.windows] == [window.state for window in plain.windows]
    assert {window.state for window in plain.windows} == {"ok", "no_speech"}
    assert changed.sound == plain.sound
    assert changed.probabilities == pytest.approx(plain.probabilities, abs=1e-4)


def test_without_sound_the_network_is_not_asked() -> None:
    backend = bundles.MeanBackend()
    bundles.recognizer(backend).predict(sounds.silence(20.0), RATE)
    assert backend.shapes == []


# Notes.


def test_notes_on_a_long_recording_are_about_the_whole_of_it(small: Recognizer) -> None:
    """A minute with one overdriven syllable is not an overdriven minute, as 3 s of it would be."""
    voice = sounds.voice(60.0, level=0.5)
    share = sounds.tone(0.03, frequency=200.0, level=2.0).clip(-1.0, 1.0)
    long = voice.copy()
    long[RATE : RATE + len(share)] = share
    assert [note.code for note in small.predict(long, RATE).notes] == []
    assert [note.code for note in small.predict(long[: 3 * RATE], RATE).notes] == ["clipping"]


# The record.


def test_to_dict_is_ready_for_json_and_keeps_its_schema(small: Recognizer) -> None:
    fields = json.loads(json.dumps(small.predict(sounds.voice(LONG_S), RATE).to_dict(), allow_nan=False))
    shape = {
        "state": str,
        "label": str,
        "confidence": float,
        "probabilities": dict,
        "windows": list,
        "sound": dict,
        "duration_s": float,
        "notes": list,
        "timings": dict,
        "model": dict,
    }
    assert {name: type(value) for name, value in fields.items()} == shape
    assert list(fields["probabilities"]) == list(LABELS)
    assert list(fields["windows"][0]) == [
        *("start_s", "end_s", "sound", "state", "label", "confidence", "probabilities", "attention")
    ]
    assert list(fields["sound"]) == ["start_s", "end_s"]
    assert list(fields["timings"]) == ["decode_ms", "quality_ms", "features_ms", "network_ms", "total_ms"]
    assert fields["model"] == asdict(bundles.INFO)
    assert list(fields["model"]) == ["name", "version", "source", "revision", "precision"]


def test_to_dict_of_no_voice(small: Recognizer) -> None:
    fields = json.loads(json.dumps(small.predict(sounds.silence(), RATE).to_dict(), allow_nan=False))
    assert (fields["label"], fields["confidence"], fields["probabilities"], fields["sound"]) == (None, None, {}, None)
    assert [list(note) for note in fields["notes"]] == [["code", "message"]]


def test_timings_add_up(small: Recognizer) -> None:
    for seconds in (0.1, 2.0, 7.0):
        timings = small.predict(sounds.voice(seconds, 48_000), 48_000).timings
        stages = (timings.decode_ms, timings.quality_ms, timings.features_ms, timings.network_ms)
        assert min(stages) >= 0.0
        assert timings.decode_ms > 0.0
        assert 0.0 < sum(stages) <= timings.total_ms


# What is refused.


@pytest.mark.parametrize("name", sounds.HOSTILE)
def test_a_hostile_file_is_refused_by_its_own_error(small: Recognizer, tmp_path: Path, name: str) -> None:
    hostile = sounds.HOSTILE[name]
    with pytest.raises(hostile.error) as caught:
        small.predict(hostile.make(tmp_path))
    assert isinstance(caught.value, SerError)
    assert hostile.says in str(caught.value)


def test_arrays_that_are_no_recording(small: Recognizer) -> None:
    nothing: Any = None
    for source, rate, error, says in (
        (nothing, None, NoAudio, "no recording yet"),
        (np.zeros(0), RATE, NoAudio, "no samples"),
        (sounds.tone(), None, UnsupportedAudio, "sample_rate"),
        (np.full(RATE, np.nan), RATE, UnsupportedAudio, "not numbers"),
        (np.zeros((2, 3, 4)), RATE, UnsupportedAudio, r"\(2, 3, 4\)"),
        (np.zeros(601 * 8_000, np.int16), 8_000, AudioTooLong, "601 s"),
    ):
        with pytest.raises(error, match=says):
            small.predict(source, rate)


def test_limits_are_the_recognisers_own(tmp_path: Path) -> None:
    strict = recognizer.Recognizer(
        bundles.MeanBackend(), bundles.INFO, bundles.CALIBRATION, limits=Limits(max_duration_s=1.5)
    )
    path = sounds.write(tmp_path, sounds.voice(2.0), RATE)
    for source, rate in ((path, None), (sounds.voice(2.0), RATE)):
        with pytest.raises(AudioTooLong, match=r"at most 1\.5 s"):
            strict.predict(source, rate)


def test_a_sound_of_another_rate_is_refused(small: Recognizer) -> None:
    sound = audio.from_array(sounds.voice(), RATE)
    with pytest.raises(UnsupportedAudio, match=r"decoded to 44,100 Hz; the model hears 16,000"):
        small.predict(replace(sound, sample_rate=44_100))


def test_no_model_to_load(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="There is no model in"):
        ser_core.load(tmp_path)


# Loading.


def test_repr_tells_model_and_shapes(small: Recognizer) -> None:
    assert repr(small) == (
        "Recognizer(small 1.2.3 fp32 from tests: log_mel (B, 1, 80, T) -> logits (B, 8), attention (B, T / 8))"
    )


def test_warm_up_meets_short_and_long() -> None:
    backend = bundles.MeanBackend()
    bundles.recognizer(backend).warm_up()
    # 1 s, filled up; a window of 3 s and 6 s in one piece, to the next multiple of 32.
    assert {shape[3] for shape in backend.shapes} >= {192, 320, 608}
    assert max(shape[0] for shape in backend.shapes) > 1


# Many threads.


def clips() -> list[tuple[Any, int]]:
    """Of different lengths, rates and kinds: one piece and windows, voice and none."""
    lengths = [0.2, 0.8, 1.7, 2.9, 3.3, 4.6, 6.0, 6.2, 8.4]
    voices = [
        (sounds.voice(seconds, rate, pitch=90.0 + 15 * i, seed=i), rate)
        for i, (seconds, rate) in enumerate(zip(lengths, [16_000, 8_000, 22_050] * 3, strict=True))
    ]
    return [*voices, (sounds.silence(1.0), RATE)]


def asked_by_eight(judge: Recognizer) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What each of 8 x CALLS calls was answered, and what it is answered alone."""
    made = clips()
    alone = [answer(judge.predict(*clip)) for clip in made]
    order = np.random.default_rng(3).integers(len(made), size=8 * CALLS).tolist()
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda index: answer(judge.predict(*made[index])), order))
    return together, [alone[index] for index in order]


def test_many_threads_on_the_way_to_the_network() -> None:
    together, alone = asked_by_eight(bundles.recognizer())
    assert together == alone


def test_many_threads_on_a_small_network(tmp_path: Path) -> None:
    bundles.make(tmp_path)
    together, alone = asked_by_eight(ser_core.load(tmp_path))
    assert together == alone


@bundles.needs_shipped
def test_many_threads_on_the_model_that_ships(shipped: Recognizer) -> None:
    together, alone = asked_by_eight(shipped)
    assert together == alone
    assert len({one["confidence"] for one in alone}) > 5


@bundles.needs_shipped
def test_a_window_of_the_model_that_ships_agrees_with_its_sound_alone(shipped: Recognizer) -> None:
    """Frames lie on the whole recording's grid, and the cut to what sounds on that of its level."""
    samples = np.concatenate([sounds.voice(4.0, level=0.9), sounds.voice(3.4, pitch=220.0, level=0.05, seed=1)])
    for window in shipped.predict(samples, RATE).windows:
        alone = shipped.predict(samples[round(window.start_s * RATE) : round(window.end_s * RATE)], RATE)
        assert window.label == alone.label
        assert window.probabilities == pytest.approx(alone.probabilities, abs=0.15)


@bundles.needs_shipped
def test_windows_judged_together_are_judged_as_each_alone(shipped: Recognizer) -> None:
    """Within a batch the sums are taken in another order: the last digits differ."""
    samples = np.concatenate([sounds.voice(4.0, level=0.9), sounds.voice(3.4, pitch=220.0, level=0.05, seed=1)])
    parts = windows.stretches(samples, CONFIG)
    assert len(parts) > 5
    for window, part in zip(shipped.judge(parts), parts, strict=True):
        (alone,) = shipped.judge([part])
        assert window.label == alone.label
        assert window.probabilities == pytest.approx(alone.probabilities, abs=1e-5)
        assert window.attention == pytest.approx(alone.attention, abs=1e-5)


@bundles.needs_shipped
def test_the_model_that_ships_hears_level_as_no_emotion(shipped: Recognizer) -> None:
    loud, quiet = (shipped.predict(gain * sounds.voice(3.0, level=0.9), RATE) for gain in (1.0, 0.1))
    assert loud.probabilities == pytest.approx(quiet.probabilities, abs=2e-3)
