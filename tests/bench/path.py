"""How long a recording takes from its path to its Prediction, warm, beside what `librosa.load` alone takes.

    python -m tests.bench.path [--model FOLDER] [--runs N] [--out FILE]

The two take turns, so that the machine's moods meet both alike. Writes JSON; the README's sentence comes from it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

import ser_core

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS, RATE = 4.0, 48_000
OUT = Path(__file__).parent / "path.json"


def voice_like(seconds: float, rate: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """float32 (n,): harmonics of a gliding 150 Hz voice in syllables of a quarter second, and a little noise."""
    time_s = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(150.0 + 30.0 * np.sin(2 * np.pi * 0.7 * time_s)) / rate
    tone = sum(np.sin(k * phase) / k for k in range(1, 20))
    syllables = np.clip(np.sin(2 * np.pi * 2.0 * time_s), 0.0, 1.0)
    noise = np.random.default_rng(0).normal(size=len(time_s))
    return (0.1 * tone * syllables + 1e-3 * noise).astype(np.float32)


def in_turn(*functions: Callable[[], Any], runs: int) -> list[list[float]]:
    """Milliseconds of each run of each function, called in turn, after three rounds that don't count."""
    times: list[list[float]] = [[] for _ in functions]
    for turn in range(runs + 3):
        for function, mine in zip(functions, times, strict=True):
            started = time.perf_counter()
            function()
            if turn >= 3:
                mine.append(1000.0 * (time.perf_counter() - started))
    return times


def cpu_name() -> str:
    """The processor's name as Linux tells it, else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> int:
    """Measure, print, write."""
    import librosa

    parser = argparse.ArgumentParser(prog="python -m tests.bench.path", description=__doc__)
    parser.add_argument("--model", help="a model bundle other than the one that ships")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    recognizer = ser_core.load(args.model)
    recognizer.warm_up()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "voice.wav"
        soundfile.write(path, voice_like(SECONDS, RATE), RATE, subtype="PCM_16")
        ours, reference = in_turn(
            lambda: recognizer.predict(path), lambda: librosa.load(path, sr=16_000), runs=args.runs
        )
        stages = recognizer.predict(path).timings
    result = {
        "command": "python -m tests.bench.path",
        "what": f"From the path of a {SECONDS:.0f} s WAV at {RATE // 1000} kHz to its Prediction",
        "path": {"median_ms": statistics.median(ours), "runs": args.runs},
        "reference": {"what": "`librosa.load` of the file", "median_ms": statistics.median(reference)},
        "ratio": statistics.median(a / b for a, b in zip(ours, reference, strict=True)),
        "stages_of_one_run": vars(stages),
        "model": {"version": recognizer.info.version, "precision": recognizer.info.precision},
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in ("numpy", "librosa", "soundfile", "soxr", "openvino")},
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
