"""The timeline: which emotion was heard from when to when."""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

import ser_core
from ser_core import audio, timeline, windows
from ser_core.config import FeatureConfig
from ser_core.emotions import LABELS
from ser_core.prediction import Prediction, Span, State, Timings, Window
from ser_core.timeline import Segment, segments, shares
from tests import bundles, sounds
from train import corpora

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CONFIG = FeatureConfig()
RATE = CONFIG.sample_rate
SILENT = "no_speech"


def row(label: str, confidence: float) -> dict[str, float]:
    return {name: confidence if name == label else (1.0 - confidence) / (len(LABELS) - 1) for name in LABELS}


def window(start_s: float, end_s: float, told: str, confidence: float = 0.8) -> Window:
    """`told`: a label, one with "?" behind it where it is uncertain, or "no_speech"."""
    if told == SILENT:
        return Window(start_s, end_s, None, "no_speech", None, None, {}, ())
    label = told.removesuffix("?")
    state: State = "uncertain" if told.endswith("?") else "ok"
    return Window(start_s, end_s, Span(start_s, end_s), state, label, confidence, row(label, confidence), (1.0,))


def prediction(judged: Sequence[Window], duration_s: float) -> Prediction:
    """What a recording's windows say; what they say together is of no use here."""
    timings = Timings(0.0, 0.0, 0.0, 0.0, 0.0)
    return Prediction("no_speech", None, None, {}, tuple(judged), None, duration_s, (), timings, bundles.INFO)


def recording(duration_s: float, *told: str, confidences: Sequence[float] = ()) -> Prediction:
    """A recording of this length, whose windows on the grid say what is told, over and over."""
    grid = windows.grid(round(duration_s * RATE), CONFIG)
    answers = zip(itertools.cycle(told), itertools.cycle(confidences or [0.8]), strict=False)
    judged = [window(start / RATE, end / RATE, *answer) for (start, end), answer in zip(grid, answers, strict=False)]
    return prediction(judged, duration_s)


def short(parts: Sequence[Segment]) -> list[tuple[float, float, str, str | None]]:
    return [(part.start_s, part.end_s, part.state, part.label) for part in parts]


# Borders.


def test_a_timeline_by_hand() -> None:
    # Windows 0-3, 1-4, 2-5, 3-6 and 4-6.5 s, with centres at 1.5, 2.5, 3.5, 4.5 and 5.25 s.
    assert short(segments(recording(6.5, "sad", "calm", "calm?", SILENT, "sad"))) == [
        (0.0, 2.0, "ok", "sad"),
        (2.0, 3.0, "ok", "calm"),
        (3.0, 4.0, "uncertain", "calm"),
        (4.0, 4.875, "no_speech", None),
        (4.875, 6.5, "ok", "sad"),
    ]


def test_neighbours_that_agree_are_one() -> None:
    assert short(segments(recording(6.5, "sad", "sad", "calm?", "calm?", "happy?"))) == [
        (0.0, 3.0, "ok", "sad"),
        (3.0, 4.875, "uncertain", "calm"),
        (4.875, 6.5, "uncertain", "happy"),
    ]
    assert short(segments(recording(30.0, "angry"))) == [(0.0, 30.0, "ok", "angry")]


@pytest.mark.parametrize("told", ["surprised", "surprised?", SILENT])
@pytest.mark.parametrize("duration_s", [0.0, 0.7, 5.0])
def test_one_window_is_one_segment(duration_s: float, told: str) -> None:
    judged = window(0.0, duration_s, told)
    (part,) = segments(prediction([judged], duration_s))
    assert (part.start_s, part.end_s) == (0.0, duration_s)
    for name in ("state", "label", "confidence", "probabilities"):
        assert getattr(part, name) == getattr(judged, name)
    assert shares([part]) == {told if told in {"surprised", SILENT} else "uncertain": 1.0}


def test_all_silence_is_one_segment() -> None:
    answer = bundles.recognizer().predict(sounds.silence(9.3), RATE)
    assert segments(answer) == (Segment(0.0, 9.3, "no_speech", None, None, {}),)
    assert shares(segments(answer)) == {"no_speech": 1.0}


DURATIONS = [0.0, 0.4, 5.0, 5.0 + 1 / RATE, 5.5, 6.0, 6.0 + 1 / RATE, 17.3, 61.9]


@pytest.mark.parametrize("duration_s", DURATIONS)
@pytest.mark.parametrize("seed", range(5))
def test_any_timeline_tiles_the_recording_and_holds_what_its_windows_say(duration_s: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    told = rng.choice(["sad", "happy", "happy?", "calm?", SILENT], size=70).tolist()
    answer = recording(duration_s, *told, confidences=rng.uniform(0.3, 1.0, 70).tolist())
    parts = segments(answer)
    assert parts[0].start_s == 0.0
    assert parts[-1].end_s == duration_s
    for before, after in itertools.pairwise(parts):
        assert before.start_s < before.end_s == after.start_s < after.end_s
        assert (before.state, before.label) != (after.state, after.label)
    for judged in answer.windows:
        # Each window's centre lies in a segment that says what it says.
        centre = (judged.start_s + judged.end_s) / 2
        (part,) = [part for part in parts if part.start_s <= centre <= part.end_s]
        assert (part.state, part.label) == (judged.state, judged.label)
    for part in parts:
        if part.label is None:
            assert (part.state, part.confidence, part.probabilities) == ("no_speech", None, {})
        else:
            assert tuple(part.probabilities) == LABELS
            assert sum(part.probabilities.values()) == pytest.approx(1.0, abs=1e-12)
            assert part.confidence == part.probabilities[part.label] == max(part.probabilities.values())
    divided = shares(parts)
    assert sum(divided.values()) == pytest.approx(1.0, abs=1e-12)
    assert list(divided.values()) == sorted(divided.values(), reverse=True)
    assert set(divided) <= {*LABELS, "uncertain", "no_speech"}
    assert min(divided.values()) > 0.0
    json.dumps(timeline.to_dict(answer), allow_nan=False)


# A part of a recording.


def test_a_part_is_cut_out_of_the_whole() -> None:
    answer = recording(9.0, "sad", "sad", "calm", "calm?", SILENT, "sad", "happy")
    part = timeline.between(answer.windows, 2.5, 6.2)
    assert short(part) == [
        (2.5, 3.0, "ok", "sad"),
        (3.0, 4.0, "ok", "calm"),
        (4.0, 5.0, "uncertain", "calm"),
        (5.0, 6.0, "no_speech", None),
        (6.0, 6.2, "ok", "sad"),
    ]
    assert timeline.between(answer.windows, 0.0, 9.0) == segments(answer)
    assert timeline.between((), 2.0, 5.0) == ()


def test_windows_that_lie_before_a_part_take_none_of_its_time() -> None:
    told = recording(9.0, "sad", "sad", "sad", "calm", "happy", "happy", "happy").windows
    assert short(timeline.between(told, 4.0, 9.0)) == [(4.0, 5.0, "ok", "calm"), (5.0, 9.0, "ok", "happy")]


# Merged answers.


def test_a_merged_answer_is_weighted_by_time() -> None:
    # They answer for 2, 1, 1, 0.875 and 1.625 s.
    confidences = [0.9, 0.8, 0.7, 0.6, 0.5]
    (part,) = segments(recording(6.5, "sad", confidences=confidences))
    expected = (2.0 * 0.9 + 0.8 + 0.7 + 0.875 * 0.6 + 1.625 * 0.5) / 6.5
    assert part.confidence == part.probabilities["sad"] == pytest.approx(expected, abs=1e-12)
    assert part.probabilities["calm"] == pytest.approx((1.0 - expected) / 7, abs=1e-12)


def test_what_comes_later_moves_no_border_but_the_last() -> None:
    told = ("sad", "happy", "calm", "angry")
    before, after = segments(recording(9.4, *told)), segments(recording(20.0, *told))
    assert [part.start_s for part in before[:-1]] == [part.start_s for part in after[: len(before) - 1]]


# Shares.


def test_shares_by_hand() -> None:
    divided = shares(segments(recording(6.5, "sad", "calm", "calm?", SILENT, "sad")))
    assert list(divided) == ["sad", "calm", "uncertain", "no_speech"]
    assert list(divided.values()) == pytest.approx([3.625 / 6.5, 1.0 / 6.5, 1.0 / 6.5, 0.875 / 6.5])


def test_uncertain_moments_count_together_and_for_no_emotion() -> None:
    divided = shares(segments(recording(6.5, "sad?", "calm?", "calm", "sad?", SILENT)))
    assert list(divided) == ["uncertain", "no_speech", "calm"]
    assert divided["uncertain"] == pytest.approx(3.875 / 6.5)


def test_a_tie_is_in_the_order_of_the_emotions() -> None:
    parts = [Segment(i, i + 1.0, "ok", label, 1.0, {}) for i, label in enumerate(reversed(LABELS))]
    silent = Segment(8.0, 9.0, "no_speech", None, None, {})
    unsure = Segment(9.0, 10.0, "uncertain", "sad", 0.3, {})
    assert list(shares([*parts, silent, unsure])) == [*LABELS, "uncertain", "no_speech"]


# For programs.


def test_the_timeline_for_programs() -> None:
    answer = bundles.recognizer().predict(sounds.voice(8.2), RATE)
    told = json.loads(json.dumps(timeline.to_dict(answer), allow_nan=False))
    assert list(told) == ["duration_s", "windows", "segments", "shares"]
    names = ["start_s", "end_s", "state", "label", "confidence", "probabilities"]
    for one in (*told["windows"], *told["segments"]):
        assert list(one) == names
    whole = answer.to_dict()
    assert told["duration_s"] == whole["duration_s"] == 8.2
    assert told["windows"] == [{name: one[name] for name in names} for one in whole["windows"]]
    assert told["segments"] == [dataclasses.asdict(part) for part in segments(answer)]
    assert told["shares"] == shares(segments(answer))


# Real voices, one after the other.


@bundles.needs_shipped
@pytest.mark.data
def test_a_change_of_emotion_is_told_within_a_window_of_where_it_is(data_dir: Path) -> None:
    recognizer, rng = ser_core.load(), np.random.default_rng(0)
    clips = [clip for clip in corpora.read(data_dir, ["ravdess"]) if clip.channel == "speech"]

    def recognised(emotion: str) -> sounds.Floats:
        """A clip that is recognised by itself."""
        theirs = [clip.path for clip in clips if clip.emotion == emotion]
        read = (audio.read(theirs[index], sample_rate=RATE) for index in rng.permutation(len(theirs)))
        return next(sound.samples for sound in read if recognizer.predict(sound).label == emotion)

    for _ in range(5):
        emotions = rng.permutation(LABELS)[:4].tolist()
        parts = [recognised(emotion) for emotion in emotions]
        told = segments(recognizer.predict(np.concatenate(parts), RATE))
        joints_s = np.cumsum([len(part) for part in parts])[:-1] / RATE
        for emotion, joint_s in zip(emotions[1:], joints_s, strict=True):
            starts_s = [part.start_s for part in told if part.label == emotion]
            assert min(abs(start_s - joint_s) for start_s in starts_s) <= CONFIG.window_s
