"""What the network costs: beside the same one run by others, beside larger ones, and beside what the processor can do.

    python -m tests.bench.network [--short] [--model FOLDER] [--out FILE]

All use all cores, and all are asked in turn about the same 3 s. The references and PyTorch's form of the network have
random weights, which cost as much as trained ones.
"""

from __future__ import annotations

import functools
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ser_core import bundle, features, hub
from ser_core.config import CONTRACT, FeatureConfig
from tests.bench import command, densenet, multiply_adds, references, wav2vec2
from tests.bench.timing import SETTLE_S, SHORT, Rounds, named_in_turn, ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt
    from torch import nn

    from ser_core.bundle import Bundle
    from tests.bench.command import Asked

    Batch = npt.NDArray[np.float32]
    Network = Callable[[Batch], Any]

PACKAGES = ("numpy", "openvino", "onnxruntime", "torch", "transformers")
SECONDS, BATCH = 3, 32
PRODUCT = 2048
"""Rows and columns of the matrices whose product is taken for the most that the processor can do."""
WHAT = {
    "int8": "OpenVINO, INT8",
    "fp16": "OpenVINO, FP16 weights",
    "fp32": "OpenVINO, FP32",
    "onnxruntime": "ONNX Runtime, FP32",
    "torch": "PyTorch, FP32",
}
INT8_ELSEWHERE = (
    "INT8 is an OpenVINO IR, which ONNX Runtime can't read; it is compared with OpenVINO's own FP32 instead."
)


def window_shape(config: FeatureConfig, batch: int = 1) -> tuple[int, int, int, int]:
    """(B, 1, n_mels, T) of windows of 3 s, as the network is given them."""
    frames = features.padded_frames(1 + SECONDS * config.sample_rate // config.hop_length, config)
    return (batch, 1, config.n_mels, frames)


def networks(opened: Bundle) -> dict[str, Network]:
    """The bundle's network by each precision and runtime, under the names of `WHAT`."""
    from ser_core.backends import OpenVinoBackend

    found: dict[str, Network] = {
        precision: OpenVinoBackend(opened.model_path(precision), opened.features.n_mels).infer
        for precision in bundle.MODEL_FILES
        if opened.has(precision)
    }
    session = references.load_onnx(opened.model_path("fp32"))
    found["onnxruntime"] = lambda batch: session.run(None, {CONTRACT.input: batch})
    found["torch"] = run_by_torch(torch_network(opened.training))
    return {name: found[name] for name in WHAT if name in found}


def torch_network(training: Mapping[str, Any]) -> nn.Module:
    """The network that a bundle's training record tells of, with random weights, in eval mode."""
    from train import recipe, runs
    from train.networks.ensemble import Ensemble
    from train.networks.reader import Reader, Together

    made = training["recipe"]
    chosen = recipe.Recipe(name=made["name"], network=recipe.NetworkConfig(**made["network"]), members=made["members"])
    members: nn.Module = Ensemble([runs.build_member(chosen) for _ in range(chosen.members)])
    if said := made.get("reader"):
        reader = Reader(FeatureConfig().n_mels, said["layers"])
        members = Together(members, reader, said["temperature"], tuple(said["shares"]))
    return members.eval()


def run_by_torch(network: Callable[..., Any]) -> Network:
    """A torch module as a function of an array."""
    import torch

    def run(batch: Batch) -> Any:
        with torch.inference_mode():
            return network(torch.from_numpy(batch))

    return run


def run_by_openvino(network: nn.Module, shape: Sequence[int], example: Sequence[int]) -> Network:
    """A torch module compiled by OpenVINO in FP32, as ours is, for inputs of `shape`; it is traced with `example`."""
    import openvino as ov
    import torch

    from ser_core.backends import EXACT

    model = ov.convert_model(network, example_input=torch.zeros(*example), input=ov.PartialShape(list(shape)))
    compiled = ov.Core().compile_model(model, "CPU", EXACT)
    request = compiled.create_infer_request()
    return lambda batch: request.infer([batch], share_outputs=True)


def count_by_torch(run: Callable[[], Any]) -> int:
    """Multiply-adds of one run, as PyTorch's own counter has them."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    # Self-attention in one kernel would go uncounted.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops()) // 2


def beside_others(opened: Bundle, short: bool) -> dict[str, Any]:
    """One window and a batch by each runtime, and how far that is from the processor's peak."""
    ours = networks(opened)
    window, batch = _any_windows(opened.features, 1), _any_windows(opened.features, BATCH)
    matrix = np.random.default_rng(1).standard_normal((PRODUCT, PRODUCT)).astype(np.float32)
    product = np.empty_like(matrix)
    alone = {name: functools.partial(run, window) for name, run in ours.items()}
    alone["peak"] = functools.partial(np.matmul, matrix, matrix, product)
    together = {name: functools.partial(run, batch) for name, run in ours.items()}
    one = named_in_turn(alone, SHORT if short else Rounds(60, settle_s=SETTLE_S))
    many = named_in_turn(together, SHORT if short else Rounds(7, settle_s=SETTLE_S))
    return {
        "input": f"a window of {SECONDS} s, float32 {window.shape}",
        "window": _medians(one, ours),
        "batch": {"windows": BATCH} | _medians(many, ours),
        "int8_elsewhere": INT8_ELSEWHERE,
    } | _figures(one, opened, window.shape)


def _figures(times: Mapping[str, list[float]], opened: Bundle, shape: Sequence[int]) -> dict[str, Any]:
    """Multiply-adds, the processor's peak, and the ratios of one window's times."""
    import onnx

    peak_ms, flops = statistics.median(times["peak"]), 2 * PRODUCT**3
    count = multiply_adds.count(onnx.load(opened.model_path("fp32")), {CONTRACT.input: shape})
    ratios = {
        "fp32_to_onnxruntime": ratio(times["fp32"], times["onnxruntime"]),
        # Each round with its own product: how fast the processor is changes with what else the machine does.
        "fp32_to_floor": ratio(times["fp32"], times["peak"]) * flops / (2 * count),
    }
    if "int8" in times:
        ratios["int8_to_fp32"] = ratio(times["int8"], times["fp32"])
    return {
        "multiply_adds": count,
        "peak": {
            "what": f"float32 product of {PRODUCT} x {PRODUCT} matrices by NumPy",
            "median_ms": peak_ms,
            "gflops": flops / peak_ms / 1e6,
        },
        "floor_ms": peak_ms * 2 * count / flops,
        "ratios": ratios,
    }


@dataclass(frozen=True)
class Larger:
    """A network that others use for the same task.

    Attributes:
        what: names it.
        run: asks it about 3 s.
        multiply_adds: of that.
    """

    what: str
    run: Callable[[], Any]
    multiply_adds: int


def densenets() -> dict[str, Larger]:
    """DenseNet-121 by PyTorch and by OpenVINO."""
    network = densenet.densenet121()
    picture = np.random.default_rng(2).standard_normal(densenet.INPUT).astype(np.float32)
    by_torch = functools.partial(run_by_torch(network), picture)
    by_openvino = functools.partial(run_by_openvino(network, densenet.INPUT, densenet.SMALLEST), picture)
    count = count_by_torch(by_torch)
    return {
        "densenet_torch": Larger("DenseNet-121 at 224 x 224, PyTorch", by_torch, count),
        "densenet_openvino": Larger("DenseNet-121 at 224 x 224, OpenVINO", by_openvino, count),
    }


def beside_larger(opened: Bundle, short: bool) -> dict[str, Any]:
    """The network as it ships, and larger ones, about the same 3 s."""
    from ser_core.backends import OpenVinoBackend

    window = _any_windows(opened.features, 1)
    shipped = OpenVinoBackend(opened.model_path(opened.precision), opened.features.n_mels)
    others = densenets()
    skipped: dict[str, Any] = {}
    if wav2vec2.is_installed():
        samples = np.random.default_rng(3).standard_normal((1, wav2vec2.SAMPLES)).astype(np.float32)
        run = functools.partial(run_by_torch(wav2vec2.Wav2Vec2Large().eval()), samples)
        others["wav2vec2"] = Larger(wav2vec2.WHAT, run, count_by_torch(run))
    else:
        skipped["wav2vec2"] = {"what": wav2vec2.WHAT, "skipped": wav2vec2.SKIPPED}
    functions = {"shipped": lambda: shipped.infer(window)} | {name: other.run for name, other in others.items()}
    times = named_in_turn(functions, SHORT if short else Rounds(20, settle_s=SETTLE_S))
    found = {
        name: {
            "what": other.what,
            "median_ms": statistics.median(times[name]),
            "times_ours": ratio(times[name], times["shipped"]),
            "multiply_adds": other.multiply_adds,
        }
        for name, other in others.items()
    }
    return {"shipped": {"median_ms": statistics.median(times["shipped"])}, "larger": found | skipped}


def _any_windows(config: FeatureConfig, count: int) -> Batch:
    shape = window_shape(config, count)
    return np.random.default_rng(0).uniform(-1.0, 1.0, shape).astype(np.float32)


def _medians(times: Mapping[str, list[float]], names: Mapping[str, object]) -> dict[str, Any]:
    return {name: {"what": WHAT[name], "median_ms": statistics.median(times[name])} for name in names}


def measure(asked: Asked) -> dict[str, Any]:
    """All of it, for the bundle that is asked for."""
    opened = bundle.read(hub.locate(asked.model).folder)
    if asked.short:
        import torch

        torch.set_num_threads(1)  # threads that wait for each other are slow where tests run side by side
    model = {"name": opened.name, "version": opened.version, "precision": opened.precision}
    return {"model": model} | beside_others(opened, asked.short) | beside_larger(opened, asked.short)


if __name__ == "__main__":
    raise SystemExit(command.run("network", __doc__, measure, PACKAGES))
