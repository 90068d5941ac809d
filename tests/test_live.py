"""Who is live, for how long, and what is left of them. The stream itself is tested in test_stream.py."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, Protocol

import pytest

from page import live
from ser_core import stream
from ser_core.errors import AudioTooLong, UnreadableAudio
from tests import bundles, sounds

RATE = 16_000


class Speak(Protocol):
    """See the fixture."""

    def __call__(self, visitor: str, seconds: float = 1.0, piece_s: float = 1.0) -> live.Session | None: ...


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> live.Sessions:
    return live.Sessions(bundles.recognizer(config=bundles.ANY_SOUND), clock)


@pytest.fixture
def speak(sessions: live.Sessions, clock: Clock, tmp_path: Path) -> Speak:
    """Lets a visitor speak for whole seconds, in pieces as the browser sends them; gives the session."""
    numbers = itertools.count()

    def said(visitor: str, seconds: float = 1.0, piece_s: float = 1.0) -> live.Session | None:
        session = None
        for _ in range(round(seconds / piece_s)):
            clock.now += piece_s
            path = sounds.write(tmp_path, sounds.tone(piece_s), 16_000, stem=f"piece-{next(numbers)}")
            session = sessions.push(visitor, str(path))
            assert not path.exists()  # heard, and deleted
        return session

    return said


def shown(session: live.Session) -> list[Any]:
    return live.view(session, bundles.recognizer(config=bundles.ANY_SOUND))


def test_the_first_window_comes_after_three_seconds(speak: Speak) -> None:
    session = speak("ann", 2)
    assert session
    assert session.stream.windows == ()
    session = speak("ann", 1)
    assert session
    assert [(window.start_s, window.end_s) for window in session.stream.windows] == [(0.0, 3.0)]


def test_visitors_do_not_hear_each_other(speak: Speak) -> None:
    ann, bob = speak("ann", 4), speak("bob", 3)
    assert ann
    assert bob
    assert ann.stream is not bob.stream
    assert (ann.stream.duration_s, bob.stream.duration_s) == (4.0, 3.0)


def test_who_comes_when_all_places_are_taken_waits_for_one(sessions: live.Sessions, speak: Speak) -> None:
    for visitor in range(live.MOST):
        assert speak(str(visitor)) is not None
    assert speak("late") is None
    sessions.leave("0")
    assert speak("late") is not None


def test_a_browser_that_went_away_gives_its_place_back(sessions: live.Sessions, clock: Clock, speak: Speak) -> None:
    for visitor in range(live.MOST):
        speak(str(visitor))
    clock.now += live.GONE_S
    assert speak("late") is not None
    assert len(sessions) == 1


def test_the_sound_of_who_vanished_is_forgotten_although_nobody_comes(
    sessions: live.Sessions, clock: Clock, speak: Speak
) -> None:
    speak("ann", 3)
    clock.now += 5.0
    speak("bob", 3)
    clock.now += live.GONE_S - 5.0
    sessions.forget_gone()
    assert len(sessions) == 1
    clock.now += 5.0
    sessions.forget_gone()
    assert len(sessions) == 0


def test_leaving_forgets_the_sound_and_leaving_twice_does_no_harm(
    sessions: live.Sessions, clock: Clock, speak: Speak
) -> None:
    speak("ann", 6)
    left = sessions.leave("ann")
    assert left
    assert left.stream.done
    assert left.stream.windows[-1].end_s == 6.0
    assert len(sessions) == 0
    assert sessions.leave("ann") is None


def test_what_is_kept_of_a_visitor_is_bounded(speak: Speak) -> None:
    session = speak("ann", 40)
    assert session
    assert len(session.stream.recent.samples) <= 10 * RATE
    assert len(session.stream.windows) <= 13


def test_it_ends_by_itself_and_says_so(sessions: live.Sessions, speak: Speak) -> None:
    session = speak("ann", 125)
    assert session
    assert session.stream.duration_s == stream.MAX_S
    assert sessions.is_over("ann")
    state, *_, over = shown(session)
    assert over is True
    assert "120 seconds are over" in state
    assert session.lost_s() == 0.0


def test_sound_that_did_not_come_is_told(clock: Clock, speak: Speak) -> None:
    speak("ann", 4)
    clock.now += 5.0
    session = speak("ann", 1)
    assert session
    assert session.lost_s() == pytest.approx(5.0)
    state, sentence, *_ = shown(session)
    assert "goes unheard" in state
    assert "5 unheard" in sentence


def test_a_steady_stream_is_not_called_busy(speak: Speak) -> None:
    session = speak("ann", 8)
    assert session
    state, sentence, chart, _, over = shown(session)
    assert "Listening." in state
    assert "busy" not in state
    assert "8 of 120 seconds" in sentence
    assert chart == session.stream.windows[-1].probabilities
    assert over is False


def test_pieces_of_a_tenth_of_a_second_give_a_view_a_second(speak: Speak) -> None:
    due, session = [], None
    for _ in range(50):
        session = speak("ann", 0.1, piece_s=0.1)
        assert session
        due.append(session.is_due())
    assert 5 <= sum(due) <= 6
    assert session
    assert session.stream.duration_s == pytest.approx(5.0)


def test_of_the_pictures_only_the_last_ones_are_kept(speak: Speak) -> None:
    session = speak("ann", 4)
    assert session
    paths = [Path(shown(session)[3].value["path"]) for _ in range(5)]
    assert [path.exists() for path in paths] == [False, False, True, True, True]


def test_what_is_no_sound_is_refused_and_deleted(sessions: live.Sessions, tmp_path: Path) -> None:
    junk = tmp_path / "junk.wav"
    junk.write_bytes(b"no sound, only words. " * 100)
    with pytest.raises(UnreadableAudio):
        sessions.push("ann", str(junk))
    assert not junk.exists()


def test_a_file_that_is_to_stay_is_not_deleted_whoever_names_it(clock: Clock, tmp_path: Path) -> None:
    path = sounds.write(tmp_path, sounds.tone(1.0), 16_000)
    careful = live.Sessions(bundles.recognizer(), clock, stays=lambda named: named == str(path))
    careful.push("ann", str(path))
    assert path.exists()


def test_who_sends_a_little_now_and_then_does_not_hold_a_place_for_ever(
    sessions: live.Sessions, clock: Clock, speak: Speak
) -> None:
    first = speak("ann", 0.5, 0.5)
    for _ in range(round((stream.MAX_S + live.LATE_S) / (live.GONE_S - 1.0)) + 1):
        clock.now += live.GONE_S - 1.5
        last = speak("ann", 0.5, 0.5)
    assert last is not first


def test_a_piece_can_not_be_an_hour_s_sound(sessions: live.Sessions, tmp_path: Path) -> None:
    path = tmp_path / "bomb.flac"
    path.write_bytes(sounds.silent_flac(hours=1.0))
    with pytest.raises(AudioTooLong):
        sessions.push("ann", str(path))
    assert len(sessions) == 0


def test_a_piece_that_comes_after_stop_begins_nothing(sessions: live.Sessions, clock: Clock, speak: Speak) -> None:
    speak("ann", 4)
    sessions.leave("ann")
    assert speak("ann", 0.1, piece_s=0.1) is None
    assert len(sessions) == 0
    clock.now += live.AFTER_S
    assert speak("ann") is not None
