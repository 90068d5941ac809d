"""What the recogniser answers: frozen records with names and units, ready for JSON."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["ok", "uncertain", "no_speech"]
"""`ok`: an emotion; `uncertain`: the most probable one, but below the model's threshold; `no_speech`: none claimed."""

Precision = Literal["fp32", "fp16", "int8"]


@dataclass(frozen=True)
class Span:
    """A stretch of the recording, in seconds from its start."""

    start_s: float
    end_s: float

    @property
    def duration_s(self) -> float:
        """Seconds from start to end."""
        return self.end_s - self.start_s


@dataclass(frozen=True)
class QualityNote:
    """Something about the recording that may spoil the answer. `code` is stable; `message` says what to do about it."""

    code: str
    message: str


@dataclass(frozen=True)
class Window:
    """One judged stretch of the recording.

    Attributes:
        start_s, end_s: seconds, the stretch on the grid.
        sound: the part of it that is sound, in seconds of the whole recording; None where there is none.
        state, label, confidence, probabilities: as in `Prediction`.
        attention: how much each equal slice of `sound` weighed in the answer; at least 0, sums to 1; empty without
            sound.
    """

    start_s: float
    end_s: float
    sound: Span | None
    state: State
    label: str | None
    confidence: float | None
    probabilities: dict[str, float]
    attention: tuple[float, ...]


@dataclass(frozen=True)
class Timings:
    """Milliseconds per stage of one answer; `decode_ms` holds reading, mixing down and resampling."""

    decode_ms: float
    quality_ms: float
    features_ms: float
    network_ms: float
    total_ms: float


@dataclass(frozen=True)
class ModelInfo:
    """Which model answered: its name and version, where it came from, at which revision, in which precision."""

    name: str
    version: str
    source: str
    revision: str | None
    precision: Precision


@dataclass(frozen=True)
class Prediction:
    """The answer for one recording.

    Attributes:
        state: see `State`.
        label: the most probable emotion; None with `no_speech`.
        confidence: its probability in [0, 1]; None with `no_speech`.
        probabilities: the eight names, in the order of `ser_core.LABELS`, to floats that sum to 1; empty with
            `no_speech`.
        windows: the stretches that were judged, in order of time; one where the recording is short.
        sound: from the first to the last sound that was judged; None with `no_speech`.
        duration_s: seconds of the whole recording.
        notes: what may have spoiled the answer, worst first.
        timings: milliseconds per stage.
        model: which model answered.
    """

    state: State
    label: str | None
    confidence: float | None
    probabilities: dict[str, float]
    windows: tuple[Window, ...]
    sound: Span | None
    duration_s: float
    notes: tuple[QualityNote, ...]
    timings: Timings
    model: ModelInfo = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The same as nested dicts and lists under the same names, ready for `json.dumps`."""
        return dataclasses.asdict(self)
