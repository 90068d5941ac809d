"""Speech emotion recognition: a voice in, one of eight emotions out, with where and how sure.

import ser_core

recognizer = ser_core.load()
print(recognizer.predict("voice.wav").label)
"""

import sys

from ser_core.config import FeatureConfig, Limits
from ser_core.emotions import EMOTIONS, LABELS, Emotion
from ser_core.errors import (
    AudioError,
    AudioTooLong,
    BackendError,
    BundleError,
    ModelUnavailable,
    NoAudio,
    SerError,
    UnreadableAudio,
    UnsupportedAudio,
)
from ser_core.prediction import ModelInfo, Prediction, QualityNote, Span, Timings, Window
from ser_core.recognizer import Recognizer, load
from ser_core.sound import Sound

# Merely imported, OpenVINO calls Google Analytics, and has no switch against it that a program could use. Where its
# package for that is missing it does without; so it is, unless who uses this library has imported it before.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

__all__ = [
    "EMOTIONS",
    "LABELS",
    "AudioError",
    "AudioTooLong",
    "BackendError",
    "BundleError",
    "Emotion",
    "FeatureConfig",
    "Limits",
    "ModelInfo",
    "ModelUnavailable",
    "NoAudio",
    "Prediction",
    "QualityNote",
    "Recognizer",
    "SerError",
    "Sound",
    "Span",
    "Timings",
    "UnreadableAudio",
    "UnsupportedAudio",
    "Window",
    "load",
]
