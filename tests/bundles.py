"""Networks and bundles small enough that a test makes its own, and where the real one lies."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import openvino as ov
import pytest
from onnx import TensorProto, helper, numpy_helper

from ser_core import bundle
from ser_core.backends import Output
from ser_core.bundle import METRICS, MODEL_FILES, Bundle, Calibration
from ser_core.config import CONTRACT, FeatureConfig
from ser_core.emotions import LABELS
from ser_core.prediction import ModelInfo
from ser_core.recognizer import Recognizer

if TYPE_CHECKING:
    import numpy.typing as npt

CONFIG = FeatureConfig()
INFO = ModelInfo("small", "1.2.3", "tests", None, "fp32")
ANY_SOUND = replace(CONFIG, voice_probability=0.0)
"""Takes every sound for a voice, so that a tone of an exact length can stand for one."""
CALIBRATION = Calibration(temperature=1.0, uncertain_below=0.0)

SHIPPED = bundle.BUNDLED
needs_shipped = pytest.mark.skipif(
    not (SHIPPED / bundle.MANIFEST).is_file(), reason="assets/model holds no bundle: `python -m train export` makes one"
)
"""Marks a test on the real bundle, whatever its weights."""


# Backends without a network.


class MeanBackend:
    """Logits and attention that follow from each spectrogram alone, as a network's do, in a line of NumPy.

    Attributes:
        shapes: of the batches that were judged, in order.
    """

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self._weights = np.random.default_rng(5).standard_normal((CONFIG.n_mels, len(LABELS))).astype(np.float32)

    def infer(self, batch: npt.NDArray[np.float32]) -> Output:
        self.shapes.append(batch.shape)
        assert batch.dtype == np.float32
        logits = np.einsum("bmt,me->be", batch[:, 0], self._weights) / batch.shape[3]
        energy = np.exp(batch[:, 0].mean(axis=1).reshape(len(batch), -1, CONTRACT.attention_stride).mean(axis=2))
        return Output(logits, energy / energy.sum(axis=1, keepdims=True))


class ScriptedBackend:
    """The same logits for every window, and attention that is even or, if given, starts with `attention`."""

    def __init__(self, logits: list[float], attention: list[float] | None = None) -> None:
        self._logits, self._attention = logits, attention

    def infer(self, batch: npt.NDArray[np.float32]) -> Output:
        steps = batch.shape[3] // CONTRACT.attention_stride
        attention = np.full((len(batch), steps), 1.0 / steps, np.float32)
        if self._attention is not None:
            attention[:] = 0.0
            attention[:, : len(self._attention)] = self._attention
        return Output(np.tile(np.array(self._logits, np.float32), (len(batch), 1)), attention)


def recognizer(backend: Any = None, config: FeatureConfig = CONFIG, **calibration: float) -> Recognizer:
    """A Recognizer on a backend without a network; `calibration` changes fields of `CALIBRATION`."""
    fields = {**vars(CALIBRATION), **calibration}
    return Recognizer(MeanBackend() if backend is None else backend, INFO, Calibration(**fields), config=config)


def logits_of(**probabilities: float) -> list[float]:
    """Logits whose softmax gives these probabilities, and what is left to the others evenly."""
    rest = (1.0 - sum(probabilities.values())) / (len(LABELS) - len(probabilities))
    return [float(np.log(probabilities.get(label, rest))) for label in LABELS]


# Small networks and the bundles of them.


def network(
    n_mels: int = CONFIG.n_mels, emotions: int = len(LABELS), names: dict[str, str] | None = None
) -> onnx.ModelProto:
    """A network that keeps the contract: the mean over time through one layer, and the loudness as attention.

    Args:
        n_mels: bands of its input.
        emotions: logits of its output.
        names: other names for `input`, `logits`, `attention`.
    """
    called = {"input": CONTRACT.input, "logits": CONTRACT.logits, "attention": CONTRACT.attention}
    called.update(names or {})
    weights = np.random.default_rng(11).standard_normal((n_mels, emotions)).astype(np.float32) / 8
    stride = CONTRACT.attention_stride
    nodes = [
        helper.make_node("ReduceMean", [called["input"], "time"], ["mean"], keepdims=0),
        helper.make_node("Squeeze", ["mean", "channel"], ["bands"]),
        helper.make_node("MatMul", ["bands", "weights"], [called["logits"]]),
        helper.make_node("ReduceMean", [called["input"], "mel"], ["energy"], keepdims=0),
        helper.make_node("AveragePool", ["energy"], ["steps"], kernel_shape=[stride], strides=[stride]),
        helper.make_node("Softmax", ["steps"], ["shares"], axis=2),
        helper.make_node("Squeeze", ["shares", "channel"], [called["attention"]]),
    ]
    constants = {"time": np.array([3]), "channel": np.array([1]), "mel": np.array([2]), "weights": weights}
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(called["input"], TensorProto.FLOAT, ["batch", 1, n_mels, "frames"])],
        [
            helper.make_tensor_value_info(called["logits"], TensorProto.FLOAT, ["batch", emotions]),
            helper.make_tensor_value_info(called["attention"], TensorProto.FLOAT, ["batch", "steps"]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def make(folder: Path, **changes: Any) -> Bundle:
    """A sealed bundle of the small network in `folder`, which is made; `changes` go to `bundle.write`.

    Its INT8 files hold the same network unquantised: what is told apart is the files, not the arithmetic.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in _files().iterdir():
        shutil.copy(path, folder)
    fields: dict[str, Any] = {
        "name": INFO.name,
        "version": INFO.version,
        "precision": "fp16",
        "calibration": CALIBRATION,
        "licence": "Apache-2.0",
        "training": {"recipe": "none"},
    }
    return bundle.write(folder, **{**fields, **changes})


def seal(folder: Path, **changes: Any) -> Bundle:
    """Write the manifest of a bundle anew, over its files as they are now; `changes` go to `bundle.write`."""
    stored = json.loads((folder / bundle.MANIFEST).read_text(encoding="utf-8"))
    fields = {key: stored[key] for key in ("name", "version", "precision", "licence", "training")}
    return bundle.write(folder, calibration=CALIBRATION, **{**fields, **changes})


@functools.cache
def _files() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="ser-bundle-"))
    onnx.save(network(), folder / MODEL_FILES["fp32"][0])
    for precision in ("fp16", "int8"):
        model = ov.Core().read_model(folder / MODEL_FILES["fp32"][0])
        ov.save_model(model, folder / MODEL_FILES[precision][0], compress_to_fp16=True)
    (folder / METRICS).write_text('{"schema_version": 1}', encoding="utf-8")
    return folder


def change_manifest(folder: Path, **fields: Any) -> None:
    """Overwrite fields of a bundle's manifest; one that is set to `...` is taken out."""
    path = folder / bundle.MANIFEST
    stored = {**json.loads(path.read_text(encoding="utf-8")), **fields}
    path.write_text(json.dumps({key: value for key, value in stored.items() if value is not ...}), encoding="utf-8")
