"""One way to another rate, for a recording in one piece and for a stream alike: soxr, in pieces of any length."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ser_core.features import Waveform

QUALITY = "soxr_hq"
"""Of soxr's resampling."""


class Resampler:
    """`audio.from_array`'s resampling, in pieces of any length; keeps count of samples taken and given."""

    def __init__(self, source_rate: int, target_rate: int) -> None:
        import soxr

        self.source_rate = source_rate
        self.taken = self.given = 0
        self._ratio = target_rate / source_rate
        same = source_rate == target_rate
        self._stream = None if same else soxr.ResampleStream(source_rate, target_rate, 1, quality=QUALITY)

    def push(self, mono: Waveform) -> Waveform:
        """What can be told of float32 (n,) so far; float32 (m,), may be empty."""
        self.taken += len(mono)
        resampled: Waveform = mono if self._stream is None else self._stream.resample_chunk(mono)
        self.given += len(resampled)
        return resampled

    def end(self) -> Waveform:
        """The rest."""
        if self._stream is None:
            return np.empty(0, dtype=np.float32)
        rest: Waveform = self._stream.resample_chunk(np.empty(0, dtype=np.float32), last=True)
        # As librosa.resample rounds the length: up, with a zero where soxr gives none.
        missing = math.ceil(self.taken * self._ratio) - self.given - len(rest)
        return np.pad(rest, (0, missing)) if missing >= 0 else rest[:missing]
