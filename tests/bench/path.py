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

import soundfile

import ser_core
from tests import sounds

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS, RATE = 4.0, 48_000
OUT = Path(__file__).parent / "path.json"


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
        soundfile.write(path, sounds.voice(SECONDS, RATE), RATE, subtype="PCM_16")
        ours, reference = in_turn(
            lambda: recognizer.predict(path), lambda: librosa.load(path, sr=16_000), runs=args.runs
        )
        answer = recognizer.predict(path)
        assert answer.state != "no_speech", "no voice was heard in it, so that the network was never asked"
    result = {
        "command": "python -m tests.bench.path",
        "what": f"From the path of a {SECONDS:.0f} s WAV at {RATE // 1000} kHz to its Prediction",
        "path": {"median_ms": statistics.median(ours), "runs": args.runs},
        "reference": {"what": "`librosa.load` of the file", "median_ms": statistics.median(reference)},
        "ratio": statistics.median(a / b for a, b in zip(ours, reference, strict=True)),
        "stages_of_one_run": vars(answer.timings),
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
