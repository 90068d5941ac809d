"""A sound that still goes on, a microphone's say: judged while it comes, on the same grid of windows as a recording."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ser_core import audio, windows
from ser_core.errors import UnsupportedAudio
from ser_core.longform import Analysis
from ser_core.resampling import Resampler
from ser_core.stretch import one_piece

if TYPE_CHECKING:
    import numpy.typing as npt

    from ser_core.config import FeatureConfig
    from ser_core.features import Waveform
    from ser_core.prediction import Window
    from ser_core.recognizer import Recognizer
    from ser_core.stretch import Stretch

KEEP_S = 10.0
"""Seconds of sound that a stream keeps to be drawn: enough for a few sentences, and still legible in one picture."""
MAX_S = 120.0
"""Seconds after which a stream ends: longer than anybody tries it, short enough that no forgotten microphone stays."""


@dataclass(frozen=True)
class Recent:
    """The end of a stream.

    Attributes:
        samples: float32 (n,), mono at `sample_rate`; empty where nothing has come yet.
        sample_rate: Hz.
        start_s: where its first sample lies, in seconds from the stream's first.
    """

    samples: Waveform
    sample_rate: int
    start_s: float


class Stream:
    """One visitor's sound while it goes on. Not safe to call from two threads at once; its recogniser may be shared.

    Samples, windows and answers are those of `Recognizer.predict` on the same sound in one piece: resampled sample for
    sample alike (soxr 1.1.0; no bit differed from 8 to 192 kHz), and judged alike (no bit differed in 1,050 windows of
    the model that ships; a batch of another size may change the last digits elsewhere). Only what is quite short
    differs while it goes on; see `finish`.

    Memory is bounded by what is kept, not by how long the stream has gone on, and by the largest chunk.

    Args:
        recognizer: judges the windows; its `limits` hold for rate, channels and length.
        keep_s: seconds of sound, at least 0, that `recent` and `windows` look back.
        max_s: seconds, at least 0, after which the stream ends by itself; at most its recogniser's `max_duration_s`.

    Attributes:
        windows: the judged ones that reach into the last `keep_s`, in order of time; `Window` tells their place in
            seconds from the stream's first sample.
        done: it has ended, by `finish` or at `max_s`.
    """

    def __init__(self, recognizer: Recognizer, *, keep_s: float = KEEP_S, max_s: float = MAX_S) -> None:
        self.windows: tuple[Window, ...] = ()
        self.done = False
        self._recognizer = recognizer
        self._keep_s, self._max_s = keep_s, min(max_s, recognizer.limits.max_duration_s)
        self._resampler: Resampler | None = None
        self._samples: Waveform = np.empty(0, dtype=np.float32)
        self._analysis = Analysis(recognizer.config)
        # The first sample kept, as its index in the stream; windows laid on the grid; those of them not judged yet.
        self._first, self._laid = 0, 0
        self._due: list[tuple[int, int]] = []

    @property
    def duration_s(self) -> float:
        """Seconds so far; up to 0.12 s less than was pushed (measured), as resampling waits for what follows."""
        return self._total / self._recognizer.config.sample_rate

    @property
    def recent(self) -> Recent:
        """The last `keep_s`, to be drawn; a copy."""
        rate = self._recognizer.config.sample_rate
        first = max(self._first, self._total - round(self._keep_s * rate))
        return Recent(self._samples[first - self._first :].copy(), rate, first / rate)

    def push(self, chunk: npt.ArrayLike, sample_rate: int | None) -> tuple[Window, ...]:
        """Take the next piece of sound and judge each window that it completes.

        Args:
            chunk: the samples that follow the last chunk's, any number of them, as `audio.from_array` takes them:
                integers or floats, (n,) or (n, channels). Is not changed or kept.
            sample_rate: Hz of the chunk, the same throughout.

        Returns:
            The windows of `window_s` that are full now, every `window_hop_s` one, in order of time. All of them, in one
            batch, where several became due: none is left out because the machine was busy. At `max_s` what `finish`
            gives; when `done`, whatever comes is ignored.

        Raises:
            NoAudio: None.
            UnsupportedAudio: a type, shape or rate that is not accepted, samples that are not numbers, or a rate other
                than before. The stream stays as it was before this chunk, and may go on.
        """
        if self.done:
            return ()
        mono, rate = audio.from_chunk(chunk, sample_rate, limits=self._recognizer.limits)
        if len(mono) == 0:
            return ()
        resampler = self._at(rate)
        room = math.floor(self._max_s * rate) - resampler.taken
        self._append(resampler.push(mono[:room]))
        if len(mono) >= room:
            return self.finish()
        full = _complete(self._total, self._recognizer.config)[self._laid :]
        self._laid += len(full)
        self._due += full
        return self._judge()

    def finish(self) -> tuple[Window, ...]:
        """End the stream and judge what is left.

        Returns:
            The windows that a recording of the same sound has beyond those that `push` gave: the last, mostly shorter
            one, or what waited in the resampler. A recording of up to `one_piece_s` is one window; so after a stream as
            short, that one is given and takes the place of all others in `windows`. Empty where nothing is left, no
            sound came, or the stream had ended.
        """
        if not self.done:
            self.done = True
            if self._resampler is not None:
                self._append(self._resampler.end())
            config = self._recognizer.config
            grid = windows.grid(self._total, config) if self._total else []
            if len(grid) == 1:
                self.windows, self._laid, self._due = (), 0, []
            self._due += grid[self._laid :]
        return self._judge()

    @property
    def _total(self) -> int:
        return self._first + len(self._samples)

    def _at(self, rate: int) -> Resampler:
        """The resampler, which the first sound sets up."""
        if self._resampler is None:
            self._resampler = Resampler(rate, self._recognizer.config.sample_rate)
        if rate != self._resampler.source_rate:
            raise UnsupportedAudio(
                f"The sound started at {self._resampler.source_rate:,} Hz and went on at {rate:,} Hz. "
                "Start it anew, and keep to one microphone."
            )
        return self._resampler

    def _append(self, samples: Waveform) -> None:
        self._samples = np.concatenate([self._samples, samples])
        self._analysis.push(samples)

    def _made_ready(self, start: int, end: int) -> Stretch:
        """One window, as `windows.batches` makes it."""
        config = self._recognizer.config
        if self.done and len(windows.grid(self._total, config)) == 1:
            return one_piece(self._samples, config)
        return self._analysis.stretch(start, end)

    def _judge(self) -> tuple[Window, ...]:
        """Judge what is due, then let go of what nothing needs any more.

        In this order: a window that could not be judged, because the network failed, is still due at the next call.
        """
        config = self._recognizer.config
        judged = self._recognizer.judge([self._made_ready(start, end) for start, end in self._due])
        self._due = []
        self._analysis.forget(self._laid * round(config.window_hop_s * config.sample_rate))
        horizon_s = self.duration_s - self._keep_s
        self.windows = tuple(window for window in (*self.windows, *judged) if window.end_s > horizon_s)
        # The next window starts within `window_s` of the end; a short stream may yet become one piece.
        kept = round(max(self._keep_s, config.window_s, config.one_piece_s) * config.sample_rate)
        if len(self._samples) > kept:
            self._first = self._total - kept
            # A copy: a view would hold on to all of it.
            self._samples = self._samples[-kept:].copy()
        return judged


def _complete(n_samples: int, config: FeatureConfig) -> list[tuple[int, int]]:
    """The full windows so far, as (start, end) sample indices; once it is longer than one piece, `windows.grid` begins
    with the same ones, whatever follows.
    """
    window, hop = (round(seconds * config.sample_rate) for seconds in (config.window_s, config.window_hop_s))
    return [(start, start + window) for start in range(0, n_samples - window + 1, hop)]
