"""Every rate, hop, window and bound of the serving path, once, with its unit."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Self

from ser_core.errors import BundleError


@dataclass(frozen=True)
class FeatureConfig:
    """How sound becomes the network's input. Saved with the weights and compared when they are loaded.

    Attributes:
        sample_rate: Hz; every waveform behind the decoder has this rate and one channel.
        n_fft: samples of one short-time Fourier transform (25 ms at 16 kHz).
        hop_length: samples from one frame to the next (10 ms at 16 kHz).
        n_mels: mel bands (Slaney's scale and area normalisation, librosa's default).
        f_min, f_max: Hz, edges of the lowest and the highest band.
        dynamic_range_db: dB below the loudest bin of the stretch at which log-mel values are clamped.
        trim_top_db: dB below the loudest frame under which leading and trailing sound counts as silence.
        trim_frame_length, trim_hop_length: samples, the frames on which that level is measured.
        silence_dbfs: dB relative to a full-scale square wave; a stretch whose loudest frame (RMS) stays below holds no
            voice.
        min_sound_s: seconds of sound, after trimming, under which nothing is judged.
        voice_probability: from which a frame counts as a voice (Silero VAD's own default).
        voice_margin_s: seconds before the first and behind the last such frame that belong to the voice: a gasp of
            fear or a sob is no voice to the detector, but tells as much as one.
        min_voice_s: seconds of such frames under which a stretch holds no voice.
        one_piece_s: seconds; a recording up to this long is one window.
        window_s, window_hop_s: seconds; the grid of windows on which a longer recording is judged.
        min_frames: frames to which a shorter spectrogram is filled up with silence; the length of the crops that the
            network was trained on.
        frame_step: frames; longer spectrograms are filled up to a multiple of it, so that the network meets few shapes.
    """

    sample_rate: int = 16_000
    n_fft: int = 400
    hop_length: int = 160
    n_mels: int = 80
    f_min: float = 0.0
    f_max: float = 8_000.0
    dynamic_range_db: float = 80.0
    trim_top_db: float = 40.0
    trim_frame_length: int = 2048
    trim_hop_length: int = 512
    silence_dbfs: float = -65.0
    min_sound_s: float = 0.3
    voice_probability: float = 0.5
    voice_margin_s: float = 0.75
    min_voice_s: float = 0.15
    one_piece_s: float = 6.0
    window_s: float = 3.0
    window_hop_s: float = 1.0
    min_frames: int = 192
    frame_step: int = 32

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length

    @property
    def fingerprint(self) -> str:
        """Eight hex digits that change with any field; names caches and marks results."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """Rebuild from `to_dict`. Raises BundleError where the names don't match this version's."""
        known = {field.name for field in dataclasses.fields(cls)}
        if set(fields) != known:
            missing, unknown = sorted(known - set(fields)), sorted(set(fields) - known)
            raise BundleError(
                f"The model's feature config doesn't fit this version: it lacks {missing or 'nothing'} and has "
                f"{unknown or 'nothing'} that is unknown here. Export the model again with this version, or install "
                "the version it was made with."
            )
        return cls(**fields)


@dataclass(frozen=True)
class Limits:
    """What is accepted from a stranger; checked on the header before decoding, and again while decoding.

    Attributes:
        max_duration_s: seconds of sound.
        max_bytes: bytes of a file on disk.
        min_rate, max_rate: Hz, sample rates of the source.
        max_channels: channels of the source.
        max_values: samples of all the source's channels together: `max_duration_s` of 8 channels at 48 kHz, or of 2 at
            192 kHz. A FLAC of silence in 8 channels at 192 kHz holds four times as many in 1 MB, and takes 8 s.
    """

    max_duration_s: float = 600.0
    max_bytes: int = 128 * 1024 * 1024
    min_rate: int = 8_000
    max_rate: int = 192_000
    max_channels: int = 8
    max_values: int = 600 * 48_000 * 8


@dataclass(frozen=True)
class ModelContract:
    """The network's names and shapes, the same in torch, ONNX and IR. B windows, M mel bands, T frames, E emotions.

    `input` is float32 (B, 1, M, T) in [-1, 1]; `logits` float32 (B, E); `attention` float32 (B, T / attention_stride),
    at least 0 and summing to 1 over time: how much each stretch of the spectrogram weighs in the answer.
    """

    input: str = "log_mel"
    logits: str = "logits"
    attention: str = "attention"
    attention_stride: int = 8


CONTRACT = ModelContract()
