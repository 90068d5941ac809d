"""A recogniser for the page's tests: the real one's interface, and no network."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from typing import Any

import numpy as np

import ser_core
from ser_core.config import FeatureConfig, Limits
from ser_core.emotions import LABELS
from ser_core.features import trim
from ser_core.prediction import ModelInfo, Prediction, QualityNote, Span, Timings, Window
from ser_core.sound import Sound

INFO = ModelInfo("fake", "1.2", "tests", None, "fp16")
PROBABILITIES = dict(zip(LABELS, (0.04, 0.02, 0.05, 0.01, 0.61, 0.08, 0.15, 0.04), strict=True))


class FakeRecognizer:
    """Angry about every sound, with the interface of the real one and no network inside."""

    info = INFO
    config = FeatureConfig()
    limits = Limits()
    tier = None
    metrics: dict[str, Any] = {"actor_independent": {"speech": {"accuracy": 0.734}}}  # noqa: RUF012

    def __init__(self) -> None:
        self.warm = threading.Event()

    def is_available(self) -> bool:
        return True

    def warm_up(self) -> None:
        self.warm.set()

    def listen(self, source: str | None) -> tuple[Sound, Prediction]:
        sound = self.read(source)
        return sound, self.predict(sound)

    def read(self, source: str | Sound | None) -> Sound:
        return source if isinstance(source, Sound) else ser_core.audio.read(source, limits=self.limits)

    def predict(self, source: str | Sound | None, sample_rate: int | None = None) -> Prediction:
        source, rate = self.read(source), self.config.sample_rate
        trimmed = trim(source.samples, self.config)
        timings = Timings(1.0, 1.0, 1.0, 1.0, 4.0)
        if trimmed.samples.size == 0:
            note = QualityNote("silent", "The recording is silent. Check that the microphone is on.")
            return Prediction("no_speech", None, None, {}, (), None, source.duration_s, (note,), timings, INFO)
        sound = Span(trimmed.start / rate, trimmed.end / rate)
        window = Window(0.0, source.duration_s, sound, "ok", "angry", 0.61, PROBABILITIES, (0.25, 0.75))
        return Prediction("ok", "angry", 0.61, PROBABILITIES, (window,), sound, source.duration_s, (), timings, INFO)


class BrokenRecognizer(FakeRecognizer):
    def predict(self, source: str | Sound | None, sample_rate: int | None = None) -> Prediction:
        raise ZeroDivisionError("secret detail")


# Duck-typed on purpose: the page needs only these few names of a Recognizer.
FAKE: Any = FakeRecognizer()
BROKEN: Any = BrokenRecognizer()


def answer(**changes: Any) -> Prediction:
    prediction: Prediction = FAKE.predict(Sound(tone(), 16_000, 16_000, 1, "array"))
    return replace(prediction, **changes)


def tone(seconds: float = 1.0, rate: int = 16_000) -> np.ndarray[Any, np.dtype[np.float32]]:
    return (0.3 * np.sin(2 * np.pi * 440.0 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
