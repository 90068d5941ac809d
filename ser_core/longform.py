"""Sound of any length, analysed once while it comes: levels, voice and mel power, from which windows are cut.

Windows overlap, so that making each of them from its samples would do everything three times. What is told of a window
depends on the sound within it alone, but for the voice detector, which goes on from what it heard before, and for the
level to which it is adjusted: the last `window_hop_s` of sound, not what follows, so that a quiet voice is heard soon
after a loud one. So a window is the same whether the sound
comes in one piece or as it is spoken.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ser_core import features, voice
from ser_core.prediction import Span
from ser_core.stretch import Stretch

if TYPE_CHECKING:
    from ser_core.backends import Requests
    from ser_core.config import FeatureConfig
    from ser_core.features import Waveform

_LEAST_POWER = 1e-20


class Series:
    """Values that grow at the end and are forgotten at the beginning; indices stay those of the whole.

    Args:
        width: of each value; () for numbers.
        dtype: of the values.
    """

    def __init__(self, width: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self.first = 0
        self._values = np.empty((0, *width), dtype=dtype)

    def __len__(self) -> int:
        return self.first + len(self._values)

    def append(self, values: npt.NDArray[Any]) -> None:
        """Values that follow the last."""
        self._values = np.concatenate([self._values, values.astype(self._values.dtype, copy=False)])

    def between(self, start: int, end: int) -> npt.NDArray[Any]:
        """Those from `start` on and before `end`, both at least the first that is still known."""
        return self._values[start - self.first : max(start, end) - self.first]

    def forget(self, before: int) -> None:
        """Let go of those before an index, as far as there are any."""
        before = min(before, len(self))
        if before > self.first:
            # A copy: a view would hold on to all of it.
            self._values = self._values[before - self.first :].copy()
            self.first = before


class Analysis:
    """What is known of a sound so far. Not safe to call from two threads at once.

    Args:
        config: rates, bands and what counts as silence and voice.
    """

    def __init__(self, config: FeatureConfig) -> None:
        self.config = config
        self._samples = Series((), np.float32)
        self._reach = config.n_fft // 2
        # Of each block of `trim_hop_length`: sums of the samples and of their squares, from which any level follows.
        self._sums = Series((2,), np.float64)
        # Of each frame of the voice detector: sum, least and largest sample; and how surely it holds a voice.
        self._levels = Series((3,), np.float64)
        self._voices = Series((), np.float32)
        self._state = {name: np.zeros((1, 1, 128), dtype=np.float32) for name in ("h", "c")}
        # dB, of each frame from the first that lies whole in the sound.
        self._power = Series((config.n_mels,), np.float32)
        self._power.first = math.ceil(self._reach / config.hop_length)

    def __len__(self) -> int:
        """Samples so far."""
        return len(self._samples)

    def push(self, samples: Waveform) -> None:
        """Take the sound that follows, float32 (n,), mono at `config.sample_rate`."""
        self._samples.append(samples)
        self._measure()
        self._listen()
        self._transform()
        needed = min(
            len(self._sums) * self.config.trim_hop_length,
            len(self._voices) * voice.FRAME - voice.CONTEXT,
            len(self._power) * self.config.hop_length - self._reach,
        )
        self._samples.forget(needed)

    def forget(self, before: int) -> None:
        """Let go of what only windows that start before a sample need."""
        self._sums.forget(before // self.config.trim_hop_length)
        self._voices.forget(before // voice.FRAME)
        # What the level of the next frames of the voice detector is told from must stay.
        self._levels.forget(min(before // voice.FRAME, len(self._voices) - self._back))
        self._power.forget(before // self.config.hop_length)

    def stretch(self, start: int, end: int) -> Stretch:
        """Make one window ready for the network.

        Args:
            start: its first sample.
            end: behind its last; at most all samples so far.
        """
        config, rate = self.config, self.config.sample_rate
        span = Span(start / rate, end / rate)
        first, last, peak_dbfs = self._sound(start, end)
        voiced = self._voiced(start, end)
        voice_s = len(voiced) * voice.FRAME / rate
        if len(voiced) and voice_s >= config.min_voice_s:
            margin = round(config.voice_margin_s * rate)
            begins, ends = voiced[0] * voice.FRAME, (voiced[-1] + 1) * voice.FRAME
            if begins >= last or ends <= first:
                voice_s = 0.0
            else:
                first, last = max(first, begins - margin), min(last, ends + margin)
        hop, reach = config.hop_length, self._reach
        from_frame = max(math.ceil((start + reach) / hop), math.ceil(first / hop))
        to_frame = min((end - reach) // hop, last // hop) + 1
        # Each frame stands for the hop around it; so the network's steps fall where they belong.
        sound = Span(max(start, from_frame * hop - hop // 2) / rate, min(end, to_frame * hop - hop // 2) / rate)
        sound_s = (last - first) / rate
        if sound_s < config.min_sound_s or voice_s < config.min_voice_s or to_frame <= from_frame:
            return Stretch(span, None, None, sound_s, voice_s, peak_dbfs)
        spectrogram = self._spectrogram(from_frame, to_frame)
        padded = features.pad(spectrogram, features.padded_frames(spectrogram.shape[1], config))
        return Stretch(span, sound, padded, sound_s, voice_s, peak_dbfs)

    @property
    def _back(self) -> int:
        """Frames of the voice detector in a hop, from which its level is told."""
        return math.ceil(self.config.window_hop_s * self.config.sample_rate / voice.FRAME)

    def _measure(self) -> None:
        block = self.config.trim_hop_length
        begun, whole = len(self._sums), len(self._samples) // block
        blocks = self._samples.between(begun * block, whole * block).reshape(-1, block).astype(np.float64)
        self._sums.append(np.stack([blocks.sum(axis=1), np.einsum("ij,ij->i", blocks, blocks)], axis=1))

    def _listen(self) -> None:
        """Ask the voice detector about the frames that have become whole."""
        begun, whole = len(self._voices), len(self._samples) // voice.FRAME
        if whole == begun:
            return
        frames = self._samples.between(begun * voice.FRAME, whole * voice.FRAME).reshape(-1, voice.FRAME)
        # Unless the detector failed the last time, none of them has been measured.
        exact = frames[len(self._levels) - begun :].astype(np.float64)
        self._levels.append(np.stack([exact.sum(axis=1), exact.min(axis=1), exact.max(axis=1)], axis=1))
        mean, gain = self._level(begun, whole)
        before = np.zeros((whole - begun, voice.CONTEXT), dtype=np.float32)
        before[1:] = frames[:-1, -voice.CONTEXT :]
        if begun:
            before[0] = self._samples.between(begun * voice.FRAME - voice.CONTEXT, begun * voice.FRAME)
        heard = ((np.concatenate([before, frames], axis=1) - mean[:, None]) * gain[:, None]).astype(np.float32)
        found, h, c = _requests().infer({"input": heard, **self._state}, ["speech_probs", "hn", "cn"])
        self._state = {"h": h, "c": c}
        self._voices.append(found.reshape(-1))

    def _level(self, begun: int, whole: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """For each new frame the mean of the last hop's samples and the gain that brings its peak to a level: what
        is heard as a voice shall not depend on the microphone's gain, nor on a constant that a sound card adds.
        """
        back = self._back
        first = max(0, begun - back + 1)
        known = self._levels.between(first, whole)
        # Before the beginning there is nothing: sums of 0 that don't count, and no least or largest.
        missing = np.tile([0.0, np.inf, -np.inf], (max(0, back - 1 - begun), 1))
        rolling = np.lib.stride_tricks.sliding_window_view(np.concatenate([missing, known]), back, axis=0)
        counts = np.minimum(np.arange(begun, whole) + 1, back) * voice.FRAME
        mean = rolling[:, 0].sum(axis=1) / counts
        peak = np.maximum(rolling[:, 2].max(axis=1) - mean, mean - rolling[:, 1].min(axis=1))
        return mean, np.divide(voice.PEAK, peak, out=np.ones_like(peak), where=peak > 0.0)

    def _transform(self) -> None:
        """The mel power of the frames that have become whole, in dB."""
        config, reach = self.config, self._reach
        begun, whole = len(self._power), (len(self._samples) - reach) // config.hop_length + 1
        if whole <= begun:
            return
        samples = self._samples.between(begun * config.hop_length - reach, (whole - 1) * config.hop_length + reach)
        power = features.mel_power(samples, config, center=False)
        self._power.append(10.0 * np.log10(np.maximum(power, _LEAST_POWER)).T)

    def _sound(self, start: int, end: int) -> tuple[int, int, float]:
        """Where the sound in a window begins and ends, judged as `features.trim` does, and its level in dBFS; both
        places `start` where there is none.
        """
        config, block = self.config, self.config.trim_hop_length
        length = config.trim_frame_length // block
        first, last = math.ceil(start / block), end // block
        sums = self._sums.between(first, last)
        if len(sums) < length:
            return start, start, -math.inf
        mean = sums[:, 0].sum() / (len(sums) * block)
        frames = np.lib.stride_tricks.sliding_window_view(sums, length, axis=0).sum(axis=2) / (length * block)
        # The mean square about the window's mean, from sums of the samples and of their squares.
        power = np.maximum(frames[:, 1] - 2.0 * mean * frames[:, 0] + mean * mean, 0.0)
        loudest = float(power.max())
        peak_dbfs = 10.0 * math.log10(loudest) if loudest > 0.0 else -math.inf
        if peak_dbfs < config.silence_dbfs:
            return start, start, peak_dbfs
        loud = np.flatnonzero(power > loudest * 10.0 ** (-config.trim_top_db / 10.0))
        # A frame stands for its middle; what is loud at the window's edge is cut off by the window, not by silence.
        middle = first * block + config.trim_frame_length // 2
        begins = start if loud[0] == 0 else middle + int(loud[0]) * block
        ends = end if loud[-1] == len(power) - 1 else middle + (int(loud[-1]) + 1) * block
        return begins, min(end, ends), peak_dbfs

    def _voiced(self, start: int, end: int) -> npt.NDArray[np.intp]:
        """The frames of a window in which a voice is heard."""
        first = math.ceil(start / voice.FRAME)
        found = self._voices.between(first, end // voice.FRAME)
        return np.flatnonzero(found >= self.config.voice_probability) + first

    def _spectrogram(self, start: int, end: int) -> features.LogMel:
        """Float32 (n_mels, end - start) in [-1, 1], as `features.log_mel` makes it."""
        decibels = self._power.between(start, end).T
        loudest = float(decibels.max())
        if loudest <= 10.0 * math.log10(_LEAST_POWER):
            return np.full(decibels.shape, -1.0, dtype=np.float32)
        scaled = (decibels - loudest) * (2.0 / self.config.dynamic_range_db) + 1.0
        return np.clip(scaled, -1.0, 1.0).astype(np.float32)


def _requests() -> Requests:
    """The voice detector's network."""
    return voice.detector().requests
