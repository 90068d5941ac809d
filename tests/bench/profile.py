"""Where the network's time and the page's memory go: what each kind of layer takes, and what each step adds.

    python -m tests.bench.profile [--short] [--model FOLDER] [--out FILE]

It explains other figures, and has no bar of its own.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ser_core import bundle
from ser_core.backends import EXACT
from ser_core.config import CONTRACT
from tests.bench import command, material
from tests.bench.network import window_shape

if TYPE_CHECKING:
    from tests.bench.command import Asked

PACKAGES = ("numpy", "librosa", "openvino", "gradio")
FEW = 0.02
"""Kinds of layers that take less of the time than this are told together."""

STEPS = """
import json, os, sys
from tests.bench import memory

steps = {}
def held(name):
    steps[name] = memory.of(os.getpid()).resident

clips, model, answers = json.loads(sys.argv[1])
held("Python, with this project's own modules")
import gradio
held("Gradio")
import app
from page import layout
held("the page's modules")
import scipy.special, soundfile, numpy as np
held("NumPy, SciPy's special functions, soundfile")
from ser_core import features
from ser_core.config import FeatureConfig
features.log_mel(np.zeros(64_000, np.float32), FeatureConfig())
held("librosa, and a first log-mel (numba with LLVM comes along)")
import openvino
held("OpenVINO")
import ser_core
recognizer = ser_core.load(model)
held("the network, loaded and tried out")
page = layout.build(recognizer)
held("the page, built")
recognizer.warm_up()
held("first calls (the voice detector, the decoder's way, kernels of common lengths)")
for number, clip in enumerate(clips[:answers]):
    recognizer.predict(clip)
    if number + 1 == answers // 10:
        held(f"{number + 1} answers, each to a recording of another length")
held(f"{answers} answers")
print(json.dumps(steps))
"""


def layers(model: str | None, runs: int) -> dict[str, Any]:
    """What a window of 3 s takes in the network as it ships, by the kind of layer and the type it computes with."""
    import openvino as ov

    opened = bundle.read(Path(model) if model else bundle.BUNDLED)
    shape = window_shape(opened.features)
    how = {**EXACT, "PERF_COUNT": True}
    compiled = ov.Core().compile_model(ov.Core().read_model(opened.model_path(opened.precision)), "CPU", how)
    request = compiled.create_infer_request()
    batch = {CONTRACT.input: np.random.default_rng(0).uniform(-1.0, 1.0, shape).astype(np.float32)}
    taken: dict[str, list[float]] = {}
    for _ in range(runs):
        request.infer(batch)
        of_run: Counter[str] = Counter()
        for layer in request.profiling_info:
            # "brgemm_avx512_amx_I8": the way it is computed, and the type of the numbers.
            of_run[f"{layer.node_type}, {layer.exec_type.rpartition('_')[2]}"] += layer.real_time.total_seconds()
        for name, seconds in of_run.items():
            taken.setdefault(name, []).append(1000.0 * seconds)
    medians = {name: statistics.median(times) for name, times in taken.items()}
    total = sum(medians.values())
    told = {name: time for name, time in sorted(medians.items(), key=lambda item: -item[1]) if time >= FEW * total}
    return {
        "precision": opened.precision,
        "total_ms": total,
        "by_kind_ms": {**told, "all others": total - sum(told.values())},
    }


def memory_by_step(model: str | None, answers: int) -> dict[str, int]:
    """Resident bytes of one process after each step toward a page that has given `answers` answers."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Each takes the place of the one before it, so they are kept under names of their own.
        clips = [
            str(path.rename(folder / f"{number}.wav")) for number, path in enumerate(material.visitors(folder, answers))
        ]
        steps: dict[str, int] = json.loads(command.python("-c", STEPS, json.dumps([clips, model, answers])))
    return steps


def measure(asked: Asked) -> dict[str, Any]:
    """Both."""
    return {
        "layers": layers(asked.model, 3 if asked.short else 60),
        "memory": memory_by_step(asked.model, 10 if asked.short else 200),
    }


if __name__ == "__main__":
    raise SystemExit(command.run("profile", __doc__, measure, PACKAGES))
