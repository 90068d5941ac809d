"""What the stages of an answer are compared with: the same by the usual libraries, as somebody else would write it."""

from __future__ import annotations

import functools
import importlib.util
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from ser_core import bundle, hub

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    from ser_core.config import FeatureConfig
    from ser_core.features import Waveform

SPECSHOW = "`librosa.display.specshow` to PNG"
NO_SPECSHOW = "matplotlib isn't installed: `make setup-bench`"


def decode(path: str) -> Any:
    """The samples of a file as float32, at its own rate."""
    import soundfile

    return soundfile.read(path, dtype="float32")


def resample(samples: Waveform, rate: int, target_rate: int) -> Any:
    """`samples` at another rate, in Hz, by the same library."""
    import soxr

    return soxr.resample(samples, rate, target_rate, quality="HQ")


def log_mel(samples: Waveform, config: FeatureConfig) -> npt.NDArray[np.float32]:
    """float32 (n_mels, n_frames) in dB, with the bands and frames of ours."""
    import librosa

    power = librosa.feature.melspectrogram(
        y=samples,
        sr=config.sample_rate,
        n_fft=config.n_fft,
        hop_length=config.hop_length,
        n_mels=config.n_mels,
        fmin=config.f_min,
        fmax=config.f_max,
    )
    decibels: npt.NDArray[np.float32] = librosa.power_to_db(power, ref=np.max)
    return decibels


def run_onnx(path: Path, inputs: Mapping[str, npt.NDArray[np.float32]]) -> Any:
    """The outputs of a network, by ONNX Runtime; its file is loaded at the first call."""
    return _session(path).run(None, dict(inputs))


@functools.cache
def _session(path: Path) -> Any:
    return load_onnx(path)


def load_onnx(path: Path) -> Any:
    """A network, ready to be asked by ONNX Runtime."""
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def onnx_of(model: str | None) -> Path:
    """The ONNX file of a bundle, by its folder; that of the one which ships where None."""
    return bundle.read(hub.locate(model).folder).model_path("fp32")


def has_specshow() -> bool:
    """Whether matplotlib is there."""
    return importlib.util.find_spec("matplotlib") is not None


def specshow(samples: Waveform, config: FeatureConfig) -> bytes:
    """A spectrogram of ours' size in pixels and with axes, as PNG."""
    import librosa.display
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.8, 4.6), dpi=100)
    librosa.display.specshow(
        log_mel(samples, config),
        sr=config.sample_rate,
        hop_length=config.hop_length,
        fmin=config.f_min,
        fmax=config.f_max,
        x_axis="time",
        y_axis="mel",
        ax=figure.add_subplot(),
    )
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()
