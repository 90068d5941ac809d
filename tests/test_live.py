"""Who is live, for how long, and what is left of them. The stream itself is tested in test_stream.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from page import live
from ser_core import stream
from tests import bundles, sounds

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

RATE = 16_000


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


def second() -> tuple[int, npt.NDArray[np.int16]]:
    """A second of sound, as the browser sends it."""
    return RATE, sounds.as_integers(sounds.tone(1.0), "int16")


def speak(sessions: live.Sessions, clock: Clock, visitor: str, seconds: int) -> live.Session | None:
    session = None
    for _ in range(seconds):
        clock.now += 1.0
        session = sessions.push(visitor, second())
    return session


def test_the_first_window_comes_after_three_seconds(sessions: live.Sessions, clock: Clock) -> None:
    session = speak(sessions, clock, "ann", 2)
    assert session
    assert session.stream.windows == ()
    session = speak(sessions, clock, "ann", 1)
    assert session
    assert [(window.start_s, window.end_s) for window in session.stream.windows] == [(0.0, 3.0)]


def test_visitors_do_not_hear_each_other(sessions: live.Sessions, clock: Clock) -> None:
    ann, bob = speak(sessions, clock, "ann", 4), speak(sessions, clock, "bob", 3)
    assert ann
    assert bob
    assert ann.stream is not bob.stream
    assert (ann.stream.duration_s, bob.stream.duration_s) == (4.0, 3.0)


def test_who_comes_when_all_places_are_taken_waits_for_one(sessions: live.Sessions, clock: Clock) -> None:
    for visitor in range(live.MOST):
        assert sessions.push(str(visitor), second()) is not None
    assert sessions.push("late", second()) is None
    sessions.leave("0")
    assert sessions.push("late", second()) is not None


def test_a_browser_that_went_away_gives_its_place_back(sessions: live.Sessions, clock: Clock) -> None:
    for visitor in range(live.MOST):
        sessions.push(str(visitor), second())
    clock.now += live.GONE_S
    assert sessions.push("late", second()) is not None
    assert len(sessions) == 1


def test_leaving_forgets_the_sound_and_leaving_twice_does_no_harm(sessions: live.Sessions, clock: Clock) -> None:
    speak(sessions, clock, "ann", 6)
    left = sessions.leave("ann")
    assert left
    assert left.stream.done
    assert left.stream.windows[-1].end_s == 6.0
    assert len(sessions) == 0
    assert sessions.leave("ann") is None


def test_what_is_kept_of_a_visitor_is_bounded(sessions: live.Sessions, clock: Clock) -> None:
    session = speak(sessions, clock, "ann", 40)
    assert session
    assert len(session.stream.recent.samples) <= 10 * RATE
    assert len(session.stream.windows) <= 13


def test_it_ends_by_itself_and_says_so(sessions: live.Sessions, clock: Clock) -> None:
    session = speak(sessions, clock, "ann", 125)
    assert session
    assert session.stream.duration_s == stream.MAX_S
    state, *_, over = live.view(session, bundles.recognizer(config=bundles.ANY_SOUND))
    assert over is True
    assert "are over" in state


def test_sound_that_did_not_come_is_told(sessions: live.Sessions, clock: Clock) -> None:
    speak(sessions, clock, "ann", 4)
    clock.now += 5.0
    session = speak(sessions, clock, "ann", 1)
    assert session
    assert session.lost_s() == pytest.approx(5.0)
    said = live.view(session, bundles.recognizer(config=bundles.ANY_SOUND))[0]
    assert "5 seconds went unheard" in said


def test_a_steady_stream_is_not_called_busy(sessions: live.Sessions, clock: Clock) -> None:
    session = speak(sessions, clock, "ann", 8)
    assert session
    said, _, chart, _, over = live.view(session, bundles.recognizer(config=bundles.ANY_SOUND))
    assert "Listening: 8 of 120 seconds." in said
    assert "busy" not in said
    assert chart == session.stream.windows[-1].probabilities
    assert over is False
