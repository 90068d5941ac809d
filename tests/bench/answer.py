"""An answer taken apart: each of its stages, with what it is compared with."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import ser_core
from ser_core import audio, features, recognizer, voice, windows
from ser_core.config import CONTRACT
from tests.bench import references

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from ser_core.recognizer import Recognizer

    Stages = Generator["Stage", Any, None]
    """Gives one stage after the other, and is sent what each gave."""


@dataclass(frozen=True)
class Stage:
    """A part of an answer.

    Attributes:
        name: what it does.
        run: does it.
        what: names the reference.
        reference: does what it is compared with.
    """

    name: str
    run: Callable[[], Any]
    what: str
    reference: Callable[[], Any]


def stages(path: str, model: str | None) -> Stages:
    """The stages of an answer from a file to a picture, in order; heavy imports happen in the stage that needs them.

    Args:
        path: of the recording, which holds a voice.
        model: the folder of a bundle; None is the one that ships.
    """
    asked: Recognizer = yield Stage(
        "loading the model",
        lambda: ser_core.load(model),
        "its FP32 by ONNX Runtime",
        lambda: references.load_onnx(references.onnx_of(model)),
    )
    config = asked.config
    raw = yield Stage(
        "decoding",
        lambda: audio.read(path, sample_rate=None),
        "`soundfile.read`",
        lambda: references.decode(path),
    )
    sound = yield Stage(
        "resampling",
        lambda: audio.from_array(raw.samples, raw.sample_rate),
        "`soxr.resample`",
        lambda: references.resample(raw.samples, raw.sample_rate, config.sample_rate),
    )
    yield Stage(
        "voice detection",
        lambda: voice.detector().probabilities(sound.samples),
        "the same network by ONNX Runtime",
        lambda: references.run_onnx(voice.MODEL, voice_inputs(len(sound.samples))),
    )
    log_mel = yield Stage(
        "features",
        lambda: features.log_mel(sound.samples, config),
        "`librosa.feature.melspectrogram` and `power_to_db`",
        lambda: references.log_mel(sound.samples, config),
    )
    window = features.pad(log_mel, features.padded_frames(log_mel.shape[1], config))[np.newaxis, np.newaxis]
    onnx = references.onnx_of(model)
    yield Stage(
        "network",
        lambda: asked.backend.infer(window),
        "its FP32 by ONNX Runtime",
        lambda: references.run_onnx(onnx, {CONTRACT.input: window}),
    )
    judged = asked.judge(windows.stretches(sound.samples, config))
    rows = np.full((len(judged), 8), 0.125)
    yield Stage("joining", lambda: recognizer.joined(judged), "`numpy.mean` of an array", lambda: rows.mean(axis=0))
    from page.judging import drawn, stored

    prediction = asked.predict(sound)
    picture = yield Stage(
        "drawing",
        lambda: drawn(asked, sound, prediction),
        "the features of it all, alone",
        lambda: features.log_mel(sound.samples, config),
    )
    yield Stage("encoding", lambda: stored(picture), "as PNG, by Pillow", lambda: picture.save(io.BytesIO(), "PNG"))


def voice_inputs(n_samples: int) -> dict[str, Any]:
    """What the voice detector's network is given for so many samples at 16 kHz: silence."""
    state = np.zeros((1, 1, 128), np.float32)
    return {"input": np.zeros((-(-n_samples // 512), 576), np.float32), "h": state, "c": state}
