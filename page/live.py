"""The microphone while it is on: judged about once a second, forgotten when it is off."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from page import look, words
from page.judging import TITLES, stored, told
from ser_core import audio, plots, timeline
from ser_core.errors import ModelUnavailable, NoAudio
from ser_core.stream import MAX_S, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from page.blocks import Page
    from ser_core.prediction import Window
    from ser_core.recognizer import Recognizer

EVERY_S = 1.0
"""Seconds between two pieces of sound, and at least so many between two views, however often pieces come."""
MOST = 4
"""Visitors who are live at once; each takes about a tenth of a core."""
PIECE_S, PIECE_BYTES = 30.0, 16 * 1024 * 1024
"""The most that is taken as one piece of sound."""
AFTER_S = 1.0
"""For so long after Stop, pieces that were still on their way begin nothing anew."""
PICTURES = 3
"""Of each visitor's last ones are kept: the browser may still be fetching the last but one."""
GONE_S = 10.0
"""After so long without a sound from a visitor the place is another's: a browser that left doesn't say so."""
LATE_S = 30.0
"""So much longer than its sound may a stream last; who sends a piece now and then would else hold a place for hours."""
LOST_S = 1.5
"""A browser sends no piece while another is on its way: from so much on, what is missing is told."""

HINT = (
    f"Press Record and speak: from the third second on, the answer follows your voice. It ends by itself after "
    f"{MAX_S:.0f} seconds."
)
BUSY = f"All {MOST} places for live listening are taken. Keep on: yours begins when one is free; or record a clip."
LISTENING = "Listening."
SLOW = "Listening, but this machine or the line is busy: some of the sound goes unheard."
STOPPED = "Stopped; the sound is not kept."
OVER = f"The {MAX_S:.0f} seconds are over; the sound is not kept. Press Record to begin anew."

# On a tab that isn't shown at first, Gradio 6.31 forgets `stream_every`, and sends a piece each tenth of a second.
_EVERY = f"() => ({{__type__: 'update', stream_every: {EVERY_S}}})"
# The browser would go on recording, if only for itself.
_STOP = "() => { document.querySelector('#live .stop-button')?.click(); return []; }"


@dataclass
class Session:
    """One visitor's stream.

    Attributes:
        stream: what was heard.
        began: on the clock of its `Sessions`, in seconds.
        seen: when its last piece of sound came.
        heard: when that was judged.
        shown: when it was viewed last.
        pictures: paths of the last ones.
        lock: held while the stream is used.
    """

    stream: Stream
    began: float
    seen: float
    heard: float
    shown: float = float("-inf")
    pictures: deque[str] = field(default_factory=deque)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def lost_s(self) -> float:
        """Seconds that went by while it was on, and of which no sound came."""
        return 0.0 if self.stream.done else max(0.0, self.seen - self.began - self.stream.duration_s)

    def is_due(self) -> bool:
        """Whether it is time for another view, which is then taken as given."""
        if self.seen - self.shown < EVERY_S - 0.05 and not self.stream.done:
            return False
        self.shown = self.seen
        return True

    def keep(self, picture: str) -> str:
        """Remember a picture, and delete the oldest beyond `PICTURES`."""
        self.pictures.append(picture)
        while len(self.pictures) > PICTURES:
            Path(self.pictures.popleft()).unlink(missing_ok=True)
        return picture


class Sessions:
    """Who is live now: at most `MOST`, each with the last seconds of sound and no more.

    Args:
        recognizer: judges the windows.
        clock: seconds, steady.
        stays: whether the file at a path, which a visitor named as sound, is one that is not to be deleted.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        clock: Callable[[], float] = time.monotonic,
        stays: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._recognizer, self._clock, self._stays = recognizer, clock, stays
        self._limits = replace(recognizer.limits, max_duration_s=PIECE_S, max_bytes=PIECE_BYTES)
        self._live: dict[str, Session] = {}
        self._left: dict[str, float] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._live)

    def push(self, visitor: str, path: str) -> Session | None:
        """Take a piece of a visitor's sound from its file, and delete that.

        None where all places are taken, or the visitor has just left.

        Pieces that a browser sent and Gradio dropped, as the one before was still on its way, are swept, see `tidy`.

        Raises:
            AudioError: it can't be read, is too long, or doesn't fit the piece before.
        """
        try:
            piece = audio.read(path, sample_rate=None, limits=self._limits)
        finally:
            if not self._stays(path):
                Path(path).unlink(missing_ok=True)
        session = self._of(visitor, piece.duration_s)
        if session is not None:
            with session.lock:
                session.stream.push(piece.samples, piece.sample_rate)
                session.heard = self._clock()
        return session

    def _of(self, visitor: str, piece_s: float) -> Session | None:
        now = self._clock()
        with self._lock:
            self._forget_who_is_gone(now)
            self._forget_who_left(now)
            if visitor not in self._live:
                if len(self._live) >= MOST or visitor in self._left:
                    return None
                self._live[visitor] = Session(Stream(self._recognizer), now - piece_s, now, now)
            session = self._live[visitor]
            session.seen = session.heard = now
            return session

    def forget_gone(self) -> None:
        """Forget the sound of visitors of whom nothing was heard for `GONE_S`."""
        with self._lock:
            self._forget_who_is_gone(self._clock())

    def _forget_who_is_gone(self, now: float) -> None:
        self._live = {
            name: one
            for name, one in self._live.items()
            if now - one.heard < GONE_S and now - one.began < MAX_S + LATE_S
        }

    def _forget_who_left(self, now: float) -> None:
        self._left = {name: then for name, then in self._left.items() if now - then < AFTER_S}

    def is_over(self, visitor: str) -> bool:
        """Whether a visitor's stream has ended by itself."""
        session = self._live.get(visitor)
        return session is not None and session.stream.done

    def leave(self, visitor: str) -> Session | None:
        """Forget a visitor's sound; gives what there was, with its last windows judged if they can be."""
        with self._lock:
            session = self._live.pop(visitor, None)
            now = self._clock()
            # Here, too: whoever closes the page leaves, if they were live or not.
            self._forget_who_left(now)
            self._left[visitor] = now
        if session is not None:
            with session.lock, contextlib.suppress(ModelUnavailable):
                session.stream.finish()
        return session


def build(recognizer: Recognizer, tab: gr.Tab, page: Page) -> Sessions:
    """Lay `tab` of the page out and wire it; gives who is live."""
    sessions = Sessions(recognizer, stays=lambda path: os.path.realpath(path) in page.kept)
    with gr.Row():
        with gr.Column(min_width=320):
            microphone = gr.Audio(
                sources=["microphone"],
                streaming=True,
                type="filepath",
                label="Live microphone",
                buttons=[],
                elem_id="live",
            )
            state = look.announced(words.hint(HINT), "live-state")
            # Not announced: a screen reader would never come to an end.
            now = gr.HTML("", elem_id="live-now", elem_classes="said")
            picture = gr.Image(
                label="The last seconds",
                interactive=False,
                buttons=[],
                alt_text="Nothing heard yet",
                elem_id="live-picture",
                elem_classes="picture",
            )
        with gr.Column(min_width=320):
            chart = gr.Label(
                label="The last three seconds", show_heading=False, elem_id="live-chart", elem_classes="emotions"
            )
    over = gr.Checkbox(False, visible=False)
    unchanged = [gr.skip()] * 5

    def hear(path: str | None, request: gr.Request) -> list[Any]:
        if path is None:
            return unchanged
        with told():
            try:
                session = sessions.push(visitor(request), path)
            except NoAudio:  # the last piece may hold nothing
                return unchanged
            except ModelUnavailable as error:  # it goes on: what is heard now is judged when that is back
                return [words.refusal(TITLES[type(error)], str(error)), *unchanged[1:]]
            if session is None:
                return [words.hint(BUSY), "", None, None, False] if len(sessions) >= MOST else unchanged
            return view(session, recognizer) if session.is_due() else unchanged

    def rest(request: gr.Request) -> list[Any]:
        with told():
            ended = sessions.is_over(visitor(request))
            session = sessions.leave(visitor(request))
            if session is None or not session.stream.windows:
                return [words.hint(HINT), "", *unchanged[2:4], False]
            _, *shown, _ = view(session, recognizer)
            return [words.hint(OVER if ended else STOPPED), *shown, False]

    shown = [state, now, chart, picture, over]
    microphone.stream(
        hear,
        microphone,
        shown,
        stream_every=EVERY_S,
        time_limit=round(MAX_S) + 5,
        # A stream holds one of Gradio's threads for as long as it goes on. A few more than there are places, who are
        # told that these are taken.
        concurrency_limit=MOST + 4,
        show_progress="hidden",
        api_visibility="private",
    )
    microphone.stop_recording(rest, None, shown, queue=False, api_visibility="private", show_progress="hidden")
    tab.select(None, None, microphone, js=_EVERY, api_visibility="private")
    over.change(None, over, None, js=f"over => over ? ({_STOP})() : []", api_visibility="private")
    return sessions


def visitor(request: gr.Request) -> str:
    """Whose request it is, by what `Sessions` tells them apart."""
    return str(request.session_hash)


def view(session: Session, recognizer: Recognizer) -> list[Any]:
    """What is shown of a stream: state, sentence, chart, picture, and whether it is over."""
    stream = session.stream
    with session.lock:
        windows, recent, elapsed_s, over = stream.windows, stream.recent, stream.duration_s, stream.done
    drawn = plots.spectrogram(
        recent.samples,
        recognizer.config,
        windows=windows,
        segments=timeline.between(windows, recent.start_s, elapsed_s),
        start_s=recent.start_s,
    )
    alt_text = f"Spectrogram of the last {len(recent.samples) / recent.sample_rate:.0f} seconds"
    picture = gr.Image(session.keep(stored(drawn)), alt_text=alt_text)
    # What is announced changes seldom; the seconds are beside it.
    lost_s = session.lost_s()
    state = words.hint(OVER if over else SLOW if lost_s > LOST_S else LISTENING)
    counted = f"{elapsed_s:.0f} of {MAX_S:.0f} seconds" + (f", {lost_s:.0f} unheard" if lost_s > LOST_S else "")
    chart = windows[-1].probabilities if windows else None
    return [state, f"<p>{_sentence(windows)}</p><p class='waiting'>{counted}</p>", chart, picture, over]


def _sentence(windows: Sequence[Window]) -> str:
    if not windows:
        return "…"
    return "No voice just now." if windows[-1].state == "no_speech" else words.nearest(windows[-1])
