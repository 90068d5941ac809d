"""One case in a process that may crash, hang or grow: what came of it, how long it took, how much memory at most.

`python -m tests.fuzz.judge` is that process; `Judge` runs it, and starts another when it is lost.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ser_core import apart, audio, decoder
from ser_core.errors import SerError
from ser_core.sound import Sound
from tests import sounds
from tests.bench import memory
from tests.processes import ROOT

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

HANG_S = 90.0
"""Seconds after which a case is lost; beyond all that the decoders' own bounds allow."""
MEGABYTE = 2**20

Door = Literal["read", "from_array", "from_chunk"]


@dataclass(frozen=True)
class Question:
    """A call of `ser_core.audio`: `door(*arguments)`."""

    door: Door
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Verdict:
    """What came of a question.

    Attributes:
        outcome: "answered", the class of a SerError, or "lost".
        message: the error's; for a lost one, what happened.
        seconds: by the clock.
        peak_mb: MB (2**20 bytes) over the idle process and its idle decoder, at most.
    """

    outcome: str
    message: str
    seconds: float
    peak_mb: float


class Judge:
    """The process, kept from case to case. A context: it ends with it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def ask(self, question: Question) -> Verdict:
        """Its verdict, "lost" where it dies or says nothing in time."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        began = time.monotonic()
        try:
            pickle.dump(question, process.stdin)
            process.stdin.flush()
            if not select.select([process.stdout], [], [], HANG_S)[0]:
                raise TimeoutError
            verdict: Verdict = pickle.load(process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            self._end()
            seconds = time.monotonic() - began
            what = f"hung: {error!r}" if isinstance(error, TimeoutError) else f"died: {process.returncode}"
            return Verdict("lost", what, seconds, 0.0)
        return verdict

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.fuzz.judge"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def fault_of(message: str, folder: str) -> str:
    """What is wrong with an error's message; nothing where it says what was wrong and what to do."""
    if not message.isprintable() or len(message) > 400:
        return "can't be printed"
    if folder and folder in message:
        return "names a folder"
    return "" if re.search(r"[.;] [A-Z].*\.$", message) else "doesn't say what to do"


def _run(question: Question) -> tuple[str, str]:
    try:
        answer = getattr(audio, question.door)(*question.arguments)
    except SerError as error:
        where = str(question.arguments[0]) if question.door == "read" else ""
        folder = where.rpartition("/")[0]
        fault = fault_of(str(error), folder if len(folder) > 2 else "")
        return ("lost", f"{fault}: {error}") if fault else (type(error).__name__, str(error))
    # Whatever comes is what is looked for.
    except BaseException as error:  # noqa: BLE001
        return "lost", f"{type(error).__name__}: {error}"
    fault = _fault_of_answer(answer, question)
    return ("lost", fault) if fault else ("answered", "")


def _fault_of_answer(answer: Any, question: Question) -> str:
    samples = answer.samples if isinstance(answer, Sound) else answer[0]
    if samples.dtype != np.float32 or samples.ndim != 1 or not np.isfinite(samples).all():
        return f"no sound: {samples.dtype} {samples.shape}"
    if question.door != "from_chunk" and not 0 < answer.duration_s <= 600.0 + 1e-3:
        return f"{answer.duration_s} s"
    return ""


class _Memory:
    """Peaks of this process and its decoders, over what they hold idle."""

    def __init__(self) -> None:
        self._idle = {pid: self._reset(pid) for pid in self._pids()}
        self._decoder = next((idle for pid, idle in self._idle.items() if pid != os.getpid()), 0)

    def over_mb(self) -> float:
        total = 0
        for pid in {*self._pids(), *self._idle}:
            try:
                total += max(0, memory.of(pid).peak - self._idle.get(pid, self._decoder))
            except OSError:
                total += decoder.SPARE_BYTES  # it is gone; that is the most that it was let have
        return total / MEGABYTE

    @staticmethod
    def _pids() -> list[int]:
        return [os.getpid(), *apart.DECODERS.pids]

    @staticmethod
    def _reset(pid: int) -> int:
        """Forget the peak (Linux: 5 into clear_refs); what it holds now."""
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
        return memory.of(pid).resident


def main() -> None:
    """Judge what comes, until nothing more comes."""
    # What is loaded once, on the first sound of each way.
    audio.from_array(sounds.tone(0.1, 48_000), 48_000)
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for name in ("wav-16", "mp3"):
            audio.read(sounds.write(Path(folder), sounds.tone(0.5, 48_000), 48_000, name))
    while True:
        try:
            question: Question = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        used = _Memory()
        began = time.monotonic()
        outcome, message = _run(question)
        seconds = time.monotonic() - began
        pickle.dump(Verdict(outcome, message, seconds, used.over_mb()), sys.stdout.buffer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    from tests.fuzz import judge

    judge.main()  # so that what is pickled is named alike on both sides
