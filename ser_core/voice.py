"""Where in a stretch of sound somebody speaks or sings, so that rain and doorbells get no emotion.

The network is Silero VAD 6.2 (github.com/snakers4/silero-vad, MIT licence), its sequence form, which judges all frames
of a stretch in one call. It comes with the project in `assets/voice`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ser_core import features
from ser_core.backends import Requests

if TYPE_CHECKING:
    from ser_core.config import FeatureConfig
    from ser_core.features import Trimmed, Waveform

MODEL = Path(__file__).resolve().parent.parent / "assets" / "voice" / "silero_vad_16k_sequence.onnx"

FRAME = 512
"""Samples in a frame: 32 ms at 16 kHz, the only rate that the model file knows."""
CONTEXT = 64
"""Samples of the frame before that the network sees too."""
_STEP = 16
"""Frames to a multiple of which a stretch is filled up. OpenVINO makes itself ready anew for each length that it meets,
which takes about 20 ms, and keeps what it made, about 1 MB: so it shall meet few."""
_STATE = (1, 1, 128)
PEAK = 0.5
"""Peak to which a stretch is levelled first: what is heard as a voice shall not depend on the microphone's gain."""


@dataclass(frozen=True)
class Voiced:
    """Where a stretch holds a voice.

    Attributes:
        start, end: sample indices of the first and the last frame with a voice; both 0 where there is none.
        duration_s: seconds of frames with a voice.
    """

    start: int
    end: int
    duration_s: float


class VoiceDetector:
    """Tells voices from other sounds; safe to call from many threads at once.

    Attributes:
        requests: its network.

    Raises:
        BundleError: OpenVINO can't load the network.
    """

    def __init__(self) -> None:
        self.requests = Requests(MODEL)

    def probabilities(self, waveform: Waveform) -> npt.NDArray[np.float32]:
        """How surely each frame of 32 ms holds a voice.

        Args:
            waveform: float32 (n,) at 16 kHz.

        Returns:
            float32 (ceil(n / 512),) in [0, 1].
        """
        count = -(-len(waveform) // FRAME)
        if count == 0:
            return np.zeros(0, dtype=np.float32)
        # Silence behind the end, of which the frames before it know nothing.
        filled = -(-count // _STEP) * _STEP
        frames = np.zeros((filled, FRAME), dtype=np.float32)
        # A constant, which a cheap sound card adds, would take the voice's place in the peak.
        centred = waveform - waveform.mean()
        peak = float(np.abs(centred).max())
        frames.reshape(-1)[: len(waveform)] = centred * (PEAK / peak if peak > 0.0 else 1.0)
        context = np.zeros((filled, CONTEXT), dtype=np.float32)
        context[1:] = frames[:-1, -CONTEXT:]
        state = np.zeros(_STATE, dtype=np.float32)
        (found,) = self.requests.infer(
            {"input": np.concatenate([context, frames], axis=1), "h": state, "c": state}, ["speech_probs"]
        )
        return found.reshape(-1)[:count]

    def find(self, waveform: Waveform, config: FeatureConfig) -> Voiced:
        """Find the voice in float32 (n,) at 16 kHz; `config` for `voice_*`."""
        voiced = np.flatnonzero(self.probabilities(waveform) >= config.voice_probability)
        duration_s = len(voiced) * FRAME / config.sample_rate
        if len(voiced) == 0:
            return Voiced(0, 0, 0.0)
        return Voiced(int(voiced[0]) * FRAME, min(len(waveform), (int(voiced[-1]) + 1) * FRAME), duration_s)


def trim(waveform: Waveform, config: FeatureConfig) -> tuple[Trimmed, float]:
    """Cut a stretch to the sound in it, and that to the voice in it with a margin.

    Args:
        waveform: float32 (n,) at 16 kHz, any n.
        config: for `trim_*`, `silence_dbfs` and `voice_*`.

    Returns:
        The sound, and how many seconds of it are voice; where these are fewer than `min_voice_s`, the sound is cut by
        its level alone.
    """
    sound = features.trim(waveform, config)
    if sound.samples.size == 0:
        return sound, 0.0
    # All of the stretch, not the sound alone: what came before a voice helps to recognise it.
    voiced = detector().find(waveform, config)
    if voiced.duration_s < config.min_voice_s:
        return sound, voiced.duration_s
    if voiced.start >= sound.end or voiced.end <= sound.start:
        return sound, 0.0
    margin = round(config.voice_margin_s * config.sample_rate)
    start, end = max(sound.start, voiced.start - margin), min(sound.end, voiced.end + margin)
    return features.Trimmed(waveform[start:end], start, end, sound.peak_dbfs), voiced.duration_s


@functools.cache
def detector() -> VoiceDetector:
    """The detector, loaded when it is first asked for: it is the same for every model and never changes."""
    return VoiceDetector()
