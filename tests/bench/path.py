"""How long a recording takes from its path to its Prediction, warm, beside what `librosa.load` alone takes.

    python -m tests.bench.path [--short] [--model FOLDER] [--out FILE]

The two take turns, so that the machine's moods meet both alike. Writes JSON; the README's sentence comes from it.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ser_core
from tests.bench import command, material
from tests.bench.timing import SHORT, Rounds, in_turn, ratio

if TYPE_CHECKING:
    from tests.bench.command import Asked

PACKAGES = ("numpy", "librosa", "soundfile", "soxr", "openvino")


def measure(asked: Asked) -> dict[str, Any]:
    """Median times of ours and of the reference, and the stages of one run."""
    import librosa

    recognizer = ser_core.load(asked.model)
    recognizer.warm_up()
    with tempfile.TemporaryDirectory() as folder:
        path = material.clip(Path(folder))
        ours, reference = in_turn(
            lambda: recognizer.predict(path),
            lambda: librosa.load(path, sr=16_000),
            rounds=SHORT if asked.short else Rounds(100),
        )
        answer = recognizer.predict(path)
    assert answer.state != "no_speech", "no voice was heard in it, so that the network was never asked"
    return {
        "what": f"From the path of {material.CLIP} to its Prediction",
        "path": {"median_ms": statistics.median(ours), "runs": len(ours)},
        "reference": {"what": "`librosa.load` of the file", "median_ms": statistics.median(reference)},
        "ratio": ratio(ours, reference),
        "stages_of_one_run": vars(answer.timings),
        "model": {"version": recognizer.info.version, "precision": recognizer.info.precision},
    }


if __name__ == "__main__":
    raise SystemExit(command.run("path", __doc__, measure, PACKAGES))
