"""What a network costs: multiply-adds, bytes, and milliseconds beside each other."""

from __future__ import annotations

import functools
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ser_core.backends import OpenVinoBackend
from ser_core.bundle import MODEL_FILES
from ser_core.config import FeatureConfig
from train import export
from train.runs import load_network

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn

    from train.run import Run

FRAMES = 320
"""Of a window of 3 s, filled up as the app does."""
ROUNDS = 60


def measure(of: Mapping[str, Run], runs: Path, pretrained: Path) -> dict[str, dict[str, Any]]:
    """What the networks of complete runs cost for one window of 3 s on this machine.

    They take turns, so that the machine's moods meet all alike.

    Args:
        of: the runs, by name.
        runs: folder of all runs.
        pretrained: folder of pretrained weights.

    Returns:
        By name: `multiply_adds`, `int8_bytes`, median `torch_ms` and `openvino_ms` (INT8), and the same two as a ratio,
        round by round, to the first's.

    Raises:
        RunError: a run isn't complete.
    """
    sound = np.random.default_rng(0).uniform(-1.0, 1.0, (1, 1, FeatureConfig().n_mels, FRAMES)).astype(np.float32)
    calls: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {}
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, one in of.items():
            network, _ = load_network(one, runs, pretrained)
            folder = Path(scratch) / name
            folder.mkdir()
            # Ranges of another network cost as much.
            export.convert(network, folder, [sound[0, 0]])
            backend = OpenVinoBackend(folder / MODEL_FILES["int8"][0], FeatureConfig().n_mels)
            found[name] = {
                "machine": platform.processor() or platform.machine(),
                "multiply_adds": multiply_adds(network, torch.from_numpy(sound)),
                "int8_bytes": sum((folder / file).stat().st_size for file in MODEL_FILES["int8"]),
            }
            calls[name] = (_by_torch(network, torch.from_numpy(sound)), functools.partial(backend.infer, sound))
        times = {name: _in_turn(calls, kind) for kind, name in enumerate(("torch_ms", "openvino_ms"))}
    first = next(iter(of))
    for kind, by_name in times.items():
        for name, own in by_name.items():
            found[name][kind] = statistics.median(own)
            ratios = [a / b for a, b in zip(own, by_name[first], strict=True)]
            found[name][kind.replace("_ms", f"_to_{first}")] = statistics.median(ratios)
    return found


def multiply_adds(network: nn.Module, sound: torch.Tensor) -> int:
    """Of one pass, as torch counts them: of convolutions and products of matrices."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(sound)
    return int(counter.get_total_flops()) // 2


def _by_torch(network: nn.Module, sound: torch.Tensor) -> Callable[[], Any]:
    def call() -> Any:
        with torch.inference_mode():
            return network(sound)

    return call


def _in_turn(calls: Mapping[str, tuple[Callable[[], Any], ...]], kind: int) -> dict[str, list[float]]:
    """Milliseconds of each round; the first rounds, in which memory is found, don't count."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(ROUNDS + 5):
        for name, functions in calls.items():
            started = time.perf_counter()
            functions[kind]()
            if turn >= 5:
                times[name].append(1000.0 * (time.perf_counter() - started))
    return times
