"""Model servers for tests: bundles of the small networks, served, and backends that ask them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import openvino as ov

from ser_core import remote
from ser_core.backends import OpenVinoBackend
from ser_core.bundle import MODEL_FILES
from ser_core.config import FeatureConfig
from ser_core.replica import Patience
from tests import bundles
from tests.kserve.server import Server
from train import model_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from ser_core.bundle import Bundle
    from ser_core.remote import RemoteBackend

QUICK = Patience(left_out_s=0.2, unfit_s=0.2, lately_s=0.1)
"""Tries again soon; but waits for answers as long as ever, since a test machine may be busy."""
HASTY = Patience(request_s=0.5, call_s=1.0, look_s=0.3, left_out_s=0.2, unfit_s=0.2, lately_s=0.1)
"""Doesn't wait for answers either, for servers that are slow on purpose."""
SLOW_S = 120.0
"""Longer than anybody waits: who has an answer, or a refusal, before that didn't wait for it."""


def batch(rows: int = 2, frames: int = 192, seed: int = 0) -> npt.NDArray[np.float32]:
    """Some windows: float32 (rows, 1, n_mels, frames)."""
    shape = (rows, 1, FeatureConfig().n_mels, frames)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def local(opened: Bundle) -> OpenVinoBackend:
    """A bundle's network, here."""
    return OpenVinoBackend(opened.model_path(opened.precision), opened.features.n_mels)


def served(folder: Path, opened: Bundle) -> Path:
    """A model server's folder with a bundle, which is added to what is there."""
    model_server.write(opened, opened.precision, folder)
    return folder


def other(folder: Path) -> Bundle:
    """A bundle of the same name and shapes, with other weights."""
    bundles.make(folder)
    return replaced(folder, _negated(bundles.network()))


def replaced(folder: Path, network: onnx.ModelProto) -> Bundle:
    """A bundle with another network in its place, sealed anew."""
    path = folder / MODEL_FILES["fp32"][0]
    onnx.save(network, path)
    ov.save_model(ov.Core().read_model(path), folder / MODEL_FILES["fp16"][0], compress_to_fp16=True)
    return bundles.seal(folder)


def _negated(network: onnx.ModelProto) -> onnx.ModelProto:
    weights = next(one for one in network.graph.initializer if one.name == "weights")
    weights.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(weights), "weights"))
    return network


@contextmanager
def asking(opened: Bundle, *urls: str, fallback: bool = False, patience: Patience = QUICK) -> Iterator[RemoteBackend]:
    """A backend of these servers, held to a bundle. Raises what `remote.connected` does."""
    network, precision = local(opened), opened.precision
    backend = remote.connected(",".join(urls), network, opened, precision, fallback=fallback, patience=patience)
    try:
        yield backend
    finally:
        backend.close()


@contextmanager
def serving(folder: Path, count: int) -> Iterator[Sequence[Server]]:
    """So many servers of one folder."""
    servers = [Server(folder) for _ in range(count)]
    try:
        for one in servers:
            one.__enter__()
        yield servers
    finally:
        for one in servers:
            one.stop()


def same(found: Any, expected: Any) -> bool:
    """Whether two outputs are alike but for rounding."""
    return all(
        one.shape == two.shape and np.allclose(one, two, atol=1e-5)
        for one, two in ((found.logits, expected.logits), (found.attention, expected.attention))
    )
