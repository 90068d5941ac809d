"""infer(batch) behind one narrow protocol. OpenVINO on the CPU here."""

from __future__ import annotations

import contextlib
import os
import queue
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from ser_core.config import CONTRACT
from ser_core.emotions import LABELS
from ser_core.errors import BundleError, SerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import openvino as ov

THREADS = "SER_THREADS"
"""The environment variable that bounds the threads of each network; unset, they are as many as OpenVINO likes."""

_AT_ONCE = (8, 2, 1)
"""Windows in one request. OpenVINO keeps about 8 MB for each size of a batch that it met with each length, so it shall
meet few sizes; and a large one is quicker, a window for a window."""


EXACT = {"INFERENCE_PRECISION_HINT": "f32"}
"""OpenVINO's options of a network that answers alike everywhere: where the CPU has bfloat16 or AMX, its own choice
gives other probabilities."""

_hint: dict[str, str] = {}


def prefer_throughput() -> None:
    """Let each call use one core, not all of them, in networks that are loaded from now on in this process.

    An answer then takes longer, and more come in the same time: right for many files, wrong for somebody who waits.
    NumPy's matrix products keep to one thread, too: those of several calls would wait on each other.
    """
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=1, user_api="blas")
    global _hint  # noqa: PLW0603  the voice detector is loaded once for all, by nobody who could be given it
    _hint = {"PERFORMANCE_HINT": "THROUGHPUT"}


@dataclass(frozen=True)
class Output:
    """What the network says of a batch of B windows with T frames each.

    Attributes:
        logits: float32 (B, 8), in the order of `LABELS`.
        attention: float32 (B, T / `CONTRACT.attention_stride`), rows at least 0 that sum to 1.
    """

    logits: npt.NDArray[np.float32]
    attention: npt.NDArray[np.float32]


class Backend(Protocol):
    """Something that runs the network; safe to call from many threads at once."""

    def infer(self, batch: npt.NDArray[np.float32]) -> Output:
        """Judge float32 (B, 1, n_mels, T) in [-1, 1], T a multiple of `FeatureConfig.frame_step`."""
        ...


class Requests:
    """A network compiled by OpenVINO for the CPU, to be called from many threads at once.

    A compiled model that is called directly shares one infer request among all callers, which then fail or, worse, get
    each other's answers. Here each call takes a request of its own from a pool as large as the machine has cores, and
    waits where all are at work. `SER_THREADS=N` in the environment bounds both: N threads, and no more than N requests.

    Args:
        path: an IR (.xml with its .bin beside it) or an ONNX file.
        check: raises BundleError where the network isn't what the caller needs.

    Raises:
        BundleError: OpenVINO can't read or compile it, or `check` refused it.
        SerError: `SER_THREADS` is no number.
    """

    def __init__(self, path: Path, check: Callable[[ov.Model], None] = lambda _: None) -> None:
        import openvino as ov

        threads = _threads()
        options: dict[str, Any] = {**EXACT, **_hint}
        if threads is not None:
            # Not pinned: each process would pin its few threads to the same first cores.
            options |= {"INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False}
        try:
            model = ov.Core().read_model(path)
            check(model)
            compiled = ov.Core().compile_model(model, "CPU", options)
        # Text of the file that is no text ends in a UnicodeError.
        except (RuntimeError, UnicodeError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise BundleError(
                f"OpenVINO {ov.__version__} can't load {path.name} ({reason}). Export the model again with this "
                "version, or use another precision of it."
            ) from error
        self._pool: queue.SimpleQueue[ov.InferRequest] = queue.SimpleQueue()
        cores = os.cpu_count() or 1
        for _ in range(cores if threads is None else min(cores, threads)):
            self._pool.put(compiled.create_infer_request())

    @contextlib.contextmanager
    def _request(self) -> Iterator[ov.InferRequest]:
        request = self._pool.get()
        try:
            yield request
        finally:
            self._pool.put(request)

    def infer(self, inputs: dict[str, npt.NDArray[np.float32]], names: Sequence[str]) -> list[npt.NDArray[np.float32]]:
        """The outputs called `names` for the inputs by their names."""
        with self._request() as request:
            outputs = request.infer(inputs, share_outputs=True)
            # Copied while the request is still ours: its buffers are the next caller's.
            return [np.array(outputs[name]) for name in names]


def _threads() -> int | None:
    """What the environment asks for; None where it is silent."""
    text = os.environ.get(THREADS)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise SerError(f"{THREADS} must be a number of threads from 1 on, not {text!r}. Change it, or unset it.")
    return int(text)


class OpenVinoBackend:
    """The network that hears emotions, run by OpenVINO.

    Args:
        path: an IR (.xml with its .bin beside it) or an ONNX file.
        n_mels: bands that the features have.

    Raises:
        BundleError: OpenVINO can't read or compile it, or its inputs and outputs aren't those of the contract.
    """

    def __init__(self, path: Path, n_mels: int) -> None:
        self._requests = Requests(path, lambda model: _check(model, path, n_mels))

    def infer(self, batch: npt.NDArray[np.float32]) -> Output:
        """See `Backend.infer`."""
        names = [CONTRACT.logits, CONTRACT.attention]
        found = [self._requests.infer({CONTRACT.input: part}, names) for part in _parts(batch)]
        return Output(*(np.concatenate(outputs) for outputs in zip(*found, strict=True)))


def _parts(batch: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.float32]]:
    """The same windows in batches of the sizes that are in `_AT_ONCE`."""
    first = 0
    while first < len(batch):
        size = next(size for size in _AT_ONCE if size <= len(batch) - first)
        yield batch[first : first + size]
        first += size


def _check(model: ov.Model, path: Path, n_mels: int) -> None:
    inputs = {name for port in model.inputs for name in port.names}
    outputs = {name for port in model.outputs for name in port.names}
    # A further input would be left without a value, and be noticed only by the first visitor.
    if len(model.inputs) != 1 or CONTRACT.input not in inputs or not {CONTRACT.logits, CONTRACT.attention} <= outputs:
        raise BundleError(
            f"{path.name} has the inputs {sorted(inputs)} and the outputs {sorted(outputs)}; this version needs "
            f"{CONTRACT.input!r} and {CONTRACT.logits!r}, {CONTRACT.attention!r}. Export the model again."
        )
    ranks = tuple(
        port.partial_shape.rank
        for port in (model.input(CONTRACT.input), model.output(CONTRACT.logits), model.output(CONTRACT.attention))
    )
    if ranks != (4, 2, 2):
        told = ", ".join(str(rank) for rank in ranks)
        raise BundleError(
            f"{path.name} has {told} axes at {CONTRACT.input!r}, {CONTRACT.logits!r}, {CONTRACT.attention!r}; this "
            "version needs 4, 2, 2. Export the model again."
        )
    bands, classes = model.input(CONTRACT.input).partial_shape[2], model.output(CONTRACT.logits).partial_shape[1]
    if (bands.is_static and bands.get_length() != n_mels) or (
        classes.is_static and classes.get_length() != len(LABELS)
    ):
        raise BundleError(
            f"{path.name} takes {bands} mel bands and answers {classes} emotions; this version's features have "
            f"{n_mels} bands and it knows {len(LABELS)} emotions. Export the model again."
        )
