"""What each stage of an answer costs: first in a new process, then warm beside what the same takes otherwise.

    python -m tests.bench.stages [--short] [--model FOLDER] [--out FILE]

Warm times are medians, each stage in turn with its reference. A cold time is the median over new processes, in which
the stages run once, in the order of an answer, so that what a stage imports or loads counts there.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ser_core
from tests.bench import answer, command, material, references
from tests.bench.timing import SETTLE_S, SHORT, Rounds, beside, in_turn

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.answer import Stage, Stages
    from tests.bench.command import Asked

PACKAGES = ("numpy", "librosa", "soundfile", "soxr", "openvino", "onnxruntime", "pillow", "gradio", "matplotlib")
STRIP_S = 12
"""Seconds of a recording whose picture has a strip of emotions."""
COLD = "import json, sys; from tests.bench import stages; print(json.dumps(stages.cold(*json.loads(sys.argv[1]))))"


def walk(stages: Stages, visit: Callable[[Stage], Any]) -> None:
    """Visit one stage after the other; `visit` gives what the stage gave, from which the next ones are made."""
    stage = next(stages, None)
    while stage is not None:
        try:
            stage = stages.send(visit(stage))
        except StopIteration:
            return


def cold(path: str, model: str | None) -> dict[str, float]:
    """Milliseconds of each stage of an answer, the first one in this process."""
    times: dict[str, float] = {}

    def visit(stage: Stage) -> Any:
        started = time.perf_counter()
        given = stage.run()
        times[stage.name] = 1000.0 * (time.perf_counter() - started)
        return given

    walk(answer.stages(path, model), visit)
    return times


def warm(path: str, model: str | None, rounds: Rounds) -> dict[str, Any]:
    """Each stage's median, beside its reference's; see `timing.compared`."""
    found: dict[str, Any] = {}

    def visit(stage: Stage) -> Any:
        found[stage.name] = beside(stage.run, stage.reference, stage.what, rounds)
        return stage.run()

    walk(answer.stages(path, model), visit)
    return found


def importing(rounds: Rounds) -> dict[str, Any]:
    """A Python that imports ser_core and ends, beside one that imports NumPy alone."""
    ours, numpy = (lambda name=name: command.python("-c", f"import {name}") for name in ("ser_core", "numpy"))
    return beside(ours, numpy, "a Python that imports NumPy alone", rounds)


def pictures(path: str, model: str | None, rounds: Rounds) -> dict[str, Any]:
    """Drawing and encoding what one answer shows, beside the usual way to a spectrogram."""
    from page.judging import drawn, stored

    recognizer = ser_core.load(model)
    sound, prediction = recognizer.listen(path)

    def ours() -> str:
        return stored(drawn(recognizer, sound, prediction))

    if references.has_specshow():
        return beside(ours, lambda: references.specshow(sound.samples, recognizer.config), references.SPECSHOW, rounds)
    (times,) = in_turn(ours, rounds=rounds)
    skipped = {"what": references.SPECSHOW, "skipped": references.NO_SPECSHOW}
    return {"median_ms": statistics.median(times), "runs": len(times), "reference": skipped}


def measure(asked: Asked) -> dict[str, Any]:
    """Import, stages and pictures."""
    processes, rounds = (1, SHORT) if asked.short else (7, Rounds(30, settle_s=SETTLE_S))
    with tempfile.TemporaryDirectory() as name:
        os.environ["GRADIO_TEMP_DIR"] = name  # where the page puts its pictures
        clip = str(material.clip(Path(name)))
        first = [json.loads(command.python("-c", COLD, json.dumps([clip, asked.model]))) for _ in range(processes)]
        stages = warm(clip, asked.model, rounds)
        for stage, values in stages.items():
            values["cold_ms"] = statistics.median(times[stage] for times in first)
        strip = str(material.recording(Path(name), STRIP_S))
        return {
            "what": f"Stages of the answer to {material.CLIP}",
            "import": importing(SHORT if asked.short else Rounds(15)),
            "stages": stages,
            "pictures": pictures(clip, asked.model, rounds),
            "pictures_with_strip": {"seconds": STRIP_S} | pictures(strip, asked.model, rounds),
        }


if __name__ == "__main__":
    raise SystemExit(command.run("stages", __doc__, measure, PACKAGES))
