"""How fast much sound is judged: ten minutes with their timeline, and a folder of clips on the command line.

    python -m tests.bench.throughput [--short] [--model FOLDER] [--out FILE]

Beside each, in turn, what reading and resampling the same sound by `librosa.load` alone takes.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

# As the page has it; the command line sees to it by itself.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import ser_core
from ser_core import timeline
from tests.bench import command, material
from tests.bench.timing import SHORT, Rounds, beside

if TYPE_CHECKING:
    from tests.bench.command import Asked

PACKAGES = ("numpy", "librosa", "soundfile", "soxr", "openvino")
LOAD_ALL = """
import pathlib, sys
import librosa
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    librosa.load(path, sr=16_000)
"""


def long_recording(folder: Path, model: str | None, seconds: int, rounds: Rounds) -> dict[str, Any]:
    """One recording with its timeline, as often as its own length goes into the time."""
    import librosa

    recognizer = ser_core.load(model)
    recognizer.warm_up()
    path = material.recording(folder, seconds)
    found = beside(
        lambda: timeline.to_dict(recognizer.predict(path)),
        lambda: librosa.load(path, sr=16_000),
        "`librosa.load` of the file",
        rounds,
    )
    assert recognizer.predict(path).state != "no_speech", "no voice was heard in it"
    return {"seconds": seconds, "times_real_time": 1000.0 * seconds / found["median_ms"]} | found


def many_clips(folder: Path, model: str | None, count: int, rounds: Rounds) -> dict[str, Any]:
    """A folder by `python -m ser_core`, from the start of the process to its end."""
    clips, out = folder / "clips", folder / "answers.jsonl"
    clips.mkdir()
    material.clips(clips, count)
    ours = ["-m", "ser_core", str(clips), "--format", "jsonl", "--out", str(out)]
    ours += ["--model", model] if model else []
    reference = ["-c", LOAD_ALL, str(clips)]
    found = beside(
        lambda: command.python(*ours), lambda: command.python(*reference), "a loop of `librosa.load`", rounds
    )
    answers = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    judged = sum(answer["state"] != "no_speech" for answer in answers)
    assert len(answers) == count, f"{len(answers)} of {count} clips were answered"
    return {"clips": count, "with_a_voice": judged, "clips_per_s": 1000.0 * count / found["median_ms"]} | found


def measure(asked: Asked) -> dict[str, Any]:
    """Both."""
    seconds, count = (12, 6) if asked.short else (600, 1_000)
    with tempfile.TemporaryDirectory() as name:
        return {
            "long": long_recording(Path(name), asked.model, seconds, SHORT if asked.short else Rounds(5, 1)),
            "clips": many_clips(Path(name), asked.model, count, SHORT if asked.short else Rounds(3, 1)),
        }


if __name__ == "__main__":
    raise SystemExit(command.run("throughput", __doc__, measure, PACKAGES))
