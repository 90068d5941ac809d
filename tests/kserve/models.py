"""The models of a model server's folder, as OpenVINO Model Server reads it: run for real, whatever speaks to them."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

Tensors = dict[str, npt.NDArray[Any]]

BAD, MISSING, AWAY, BROKEN = "bad", "missing", "away", "broken"
"""What kind a fault is: of the request; no such model; overloaded or not up; the server's own."""

_TYPES = {"f32": "FP32", "f64": "FP64", "i64": "INT64", "i32": "INT32"}
_NUMPY = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "INT32": np.int32}


class Fault(Exception):
    """Why a request isn't answered; `kind` is one of the above."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass
class Faults:
    """What a server does wrong on purpose; may be changed while it runs.

    Attributes:
        slow_s: seconds that each inference waits first.
        fail_every: each so manieth inference is answered as by an overloaded server; 0 is none.
        nan: answers hold a NaN.
        shifted: answers are those of other weights: each emotion's logit is another's.
        not_ready: says that it isn't ready, and refuses to infer.
        short: answers lack their last row.
    """

    slow_s: float = 0.0
    fail_every: int = 0
    nan: bool = False
    shifted: bool = False
    not_ready: bool = False
    short: bool = False


@dataclass
class Models:
    """What a folder holds, each version compiled when it is first asked for.

    Attributes:
        folder: with `config.json`.
        faults: on purpose.
        asked: how many inferences were begun.
        largest: rows of the largest batch.
        ended: set when nobody needs to wait any more.
    """

    folder: Path
    faults: Faults = field(default_factory=Faults)
    asked: int = 0
    largest: int = 0
    ended: threading.Event = field(default_factory=threading.Event)
    _compiled: dict[tuple[str, str], ov.CompiledModel] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def versions(self, name: str) -> list[str]:
        """Of a model, the newest last. Raises Fault where there is none."""
        home = self._home(name)
        found = sorted(int(path.name) for path in home.iterdir() if path.name.isdecimal()) if home.is_dir() else []
        if not found:
            raise Fault(MISSING, f"Model with name {name} is not found")
        return [str(number) for number in found]

    def ready(self, name: str, version: str) -> bool:
        """Whether it would be answered."""
        try:
            self._model(name, version)
        except Fault:
            return False
        return not self.faults.not_ready

    def metadata(self, name: str, version: str) -> dict[str, Any]:
        """As KServe's JSON has it."""
        _, model = self._model(name, version)
        sides = {"inputs": model.inputs, "outputs": model.outputs}
        return {
            "name": name,
            "versions": self.versions(name),
            "platform": "OpenVINO",
            **{side: [_described(port) for port in ports] for side, ports in sides.items()},
        }

    def infer(self, name: str, version: str, inputs: Tensors, wanted: list[str]) -> tuple[str, Tensors]:
        """The outputs by their names, and the version that answered.

        Args:
            name, version: of the model; "" is the newest.
            inputs: by their names.
            wanted: outputs; [] is all.

        Raises:
            Fault: there is no such model, the inputs don't fit it, or a fault was asked for.
        """
        version, model = self._model(name, version)
        _check(model, inputs, wanted)
        self._misbehave(max(len(array) for array in inputs.values()))
        try:
            # A request of its own: what is compiled must not be shared by threads.
            answered = model.create_infer_request().infer(inputs, share_inputs=True)
        except RuntimeError as error:
            raise Fault(BAD, str(error).strip().splitlines()[-1]) from error
        names = wanted or [port.any_name for port in model.outputs]
        return version, {one: self._spoilt(np.array(answered[one])) for one in names}

    def _misbehave(self, rows: int) -> None:
        with self._lock:
            self.asked += 1
            count = self.asked
            self.largest = max(self.largest, rows)
        self.ended.wait(self.faults.slow_s)
        if self.faults.not_ready or (self.faults.fail_every and count % self.faults.fail_every == 0):
            raise Fault(AWAY, "overloaded, on purpose")

    def _spoilt(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if self.faults.nan:
            array[0, 0] = np.nan
        if self.faults.shifted:
            array = np.roll(array, 1, axis=1)
        return array[:-1] if self.faults.short else array

    def _home(self, name: str) -> Path:
        entry = self._entry(name)
        return Path(self.folder, entry["base_path"])  # an absolute one stays as it is

    def _entry(self, name: str) -> dict[str, Any]:
        config = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        for entry in config["model_config_list"]:
            if entry["config"]["name"] == name:
                return dict(entry["config"])
        raise Fault(MISSING, f"Model with name {name} is not found")

    def _model(self, name: str, version: str) -> tuple[str, ov.CompiledModel]:
        versions = self.versions(name)
        chosen = version or versions[-1]
        if chosen not in versions:
            raise Fault(MISSING, f"Model with name {name} and version {chosen} is not found")
        with self._lock:
            if (name, chosen) not in self._compiled:
                (path,) = (self._home(name) / chosen).glob("*.xml")
                options = self._entry(name).get("plugin_config", {})
                self._compiled[name, chosen] = ov.Core().compile_model(path, "CPU", options)
            return chosen, self._compiled[name, chosen]


def from_bytes(datatype: str, shape: list[int], content: bytes) -> npt.NDArray[Any]:
    """A tensor from what was sent. Raises Fault where that doesn't fit."""
    try:
        return np.frombuffer(content, _NUMPY[datatype]).reshape(shape)
    except (KeyError, ValueError) as error:
        raise Fault(BAD, f"{datatype} {shape} can't be read of {len(content)} bytes ({error})") from error


def datatype_of(array: npt.NDArray[Any]) -> str:
    """KServe's name of an array's type."""
    return next(name for name, kind in _NUMPY.items() if array.dtype == kind)


def _described(port: Any) -> dict[str, Any]:
    sizes = [size.get_length() if size.is_static else -1 for size in port.partial_shape]
    return {"name": port.any_name, "datatype": _TYPES[port.element_type.get_type_name()], "shape": sizes}


def _check(model: ov.CompiledModel, inputs: Tensors, wanted: list[str]) -> None:
    known = {port.any_name: port for port in model.inputs}
    if set(inputs) != set(known):
        raise Fault(BAD, f"got the inputs {sorted(inputs)}, the model has {sorted(known)}")
    if unknown := set(wanted) - {port.any_name for port in model.outputs}:
        raise Fault(BAD, f"there are no outputs {sorted(unknown)}")
    for name, array in inputs.items():
        expected = _described(known[name])
        fits = len(array.shape) == len(expected["shape"]) and all(
            wished in (-1, size) for size, wished in zip(array.shape, expected["shape"], strict=True)
        )
        if datatype_of(array) != expected["datatype"] or not fits or array.size == 0:
            raise Fault(BAD, f"{name} is {datatype_of(array)} {array.shape}, expected {expected}")
