"""The microphone while it is on: judged about once a second, forgotten when it is off."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
import numpy.typing as npt

from page import words
from page.judging import stored, told
from ser_core import plots, timeline
from ser_core.stream import MAX_S, Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from ser_core.recognizer import Recognizer

Chunk = tuple[int, npt.NDArray[np.int16]]
"""Hz, and samples of (n,) or (n, channels). Here at run time, where Gradio reads the types of its functions."""

EVERY_S = 1.0
MOST = 4
"""Visitors who are live at once; each takes about a tenth of a core."""
GONE_S = 10.0
"""After so long without a sound from a visitor the place is another's: a browser that left doesn't say so."""
LOST_S = 1.5
"""A browser sends no piece while another is on its way: from so much on, what is missing is told."""

HINT = (
    f"Press Record and speak: from the third second on, the answer follows your voice. It ends by itself after "
    f"{MAX_S:.0f} seconds."
)
BUSY = f"All {MOST} places for live listening are taken. Keep on: yours begins when one is free; or record a clip."
OVER = f"The {MAX_S:.0f} seconds are over. Press Stop, and Record to begin anew."

# The browser would go on recording, if only for itself.
_STOP = "() => { document.querySelector('#live .stop-button')?.click(); return []; }"


@dataclass
class Session:
    """One visitor's stream; `began` and `seen` are on the clock of its `Sessions`."""

    stream: Stream
    began: float
    seen: float
    lock: threading.Lock = field(default_factory=threading.Lock)

    def lost_s(self) -> float:
        """Seconds that went by while it was on, and of which no sound came."""
        return max(0.0, self.seen - self.began - self.stream.duration_s)


class Sessions:
    """Who is live now: at most `MOST`, each with the last seconds of sound and no more.

    Args:
        recognizer: judges the windows.
        clock: seconds, steady.
    """

    def __init__(self, recognizer: Recognizer, clock: Callable[[], float] = time.monotonic) -> None:
        self._recognizer, self._clock = recognizer, clock
        self._live: dict[str, Session] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._live)

    def push(self, visitor: str, chunk: Chunk) -> Session | None:
        """Take a piece of a visitor's sound; None where all places are taken.

        Raises:
            UnsupportedAudio: see `Stream.push`.
        """
        rate, samples = chunk
        session = self._of(visitor, len(samples) / rate)
        if session is not None:
            with session.lock:
                session.stream.push(samples, rate)
        return session

    def _of(self, visitor: str, chunk_s: float) -> Session | None:
        now = self._clock()
        with self._lock:
            self._live = {name: one for name, one in self._live.items() if now - one.seen < GONE_S}
            if visitor not in self._live:
                if len(self._live) >= MOST:
                    return None
                self._live[visitor] = Session(Stream(self._recognizer), now - chunk_s, now)
            session = self._live[visitor]
            session.seen = now
            return session

    def leave(self, visitor: str) -> Session | None:
        """Forget a visitor's sound; gives what there was, with its last windows judged."""
        with self._lock:
            session = self._live.pop(visitor, None)
        if session is not None:
            with session.lock:
                session.stream.finish()
        return session


def build(recognizer: Recognizer) -> Sessions:
    """Lay the tab out and wire it; gives who is live."""
    sessions = Sessions(recognizer)
    with gr.Row():
        with gr.Column(min_width=320):
            microphone = gr.Audio(
                sources=["microphone"],
                streaming=True,
                type="numpy",
                label="Live microphone",
                buttons=[],
                elem_id="live",
            )
            state = gr.HTML(words.hint(HINT), html_template=words.ANNOUNCED, elem_id="live-state", elem_classes="said")
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

    def hear(chunk: Chunk | None, request: gr.Request) -> list[Any]:
        if chunk is None or len(chunk[1]) == 0:
            return [gr.skip()] * 5
        with told():
            session = sessions.push(_visitor(request), chunk)
            if session is None:
                return [words.hint(BUSY), "", None, None, False]
            return view(session, recognizer)

    def rest(request: gr.Request) -> list[Any]:
        with told():
            session = sessions.leave(_visitor(request))
            if session is None or not session.stream.windows:
                return [words.hint(HINT), gr.skip(), gr.skip(), gr.skip(), False]
            _, *shown, _ = view(session, recognizer)
            return [words.hint("Stopped; the sound is forgotten."), *shown, False]

    shown = [state, now, chart, picture, over]
    microphone.stream(
        hear,
        microphone,
        shown,
        stream_every=EVERY_S,
        time_limit=round(MAX_S) + 5,
        # The places are counted in `Sessions`, which can say so.
        concurrency_limit=None,
        show_progress="hidden",
        api_visibility="private",
    )
    microphone.stop_recording(rest, None, shown, queue=False, api_visibility="private", show_progress="hidden")
    over.change(None, over, None, js=f"over => over ? ({_STOP})() : []", api_visibility="private")
    return sessions


def _visitor(request: gr.Request) -> str:
    return str(request.session_hash)


def view(session: Session, recognizer: Recognizer) -> list[Any]:
    """What is shown of a stream: state, sentence, chart, picture, and whether it is over."""
    stream = session.stream
    with session.lock:
        windows, recent, elapsed_s, over = stream.windows, stream.recent, stream.duration_s, stream.done
    said = OVER if over else f"Listening: {elapsed_s:.0f} of {MAX_S:.0f} seconds."
    if (lost_s := session.lost_s()) > LOST_S:
        said += f" The machine or the line is busy: {lost_s:.0f} seconds went unheard."
    picture = plots.spectrogram(
        recent.samples,
        recognizer.config,
        windows=windows,
        segments=timeline.between(windows, recent.start_s, elapsed_s),
        start_s=recent.start_s,
    )
    alt_text = f"Spectrogram of the last {len(recent.samples) / recent.sample_rate:.0f} seconds"
    if not windows:
        return [words.hint(said), "", None, gr.Image(stored(picture), alt_text=alt_text), over]
    latest = windows[-1]
    sentence = "No voice just now." if latest.state == "no_speech" else words.nearest(latest)
    image = gr.Image(stored(picture), alt_text=alt_text)
    return [words.hint(said), f"<p>{sentence}</p>", latest.probabilities, image, over]
