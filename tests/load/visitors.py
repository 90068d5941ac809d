"""What visitors send, what they are told, and whether it is what one alone is told."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from gradio_client.utils import QueueError

from tests import sounds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

FORMATS = ("wav-16", "wav-float", "flac-16", "ogg-vorbis", "ogg-opus", "mp3", "m4a-aac", "webm-opus")
SECONDS = (1.5, 2.5, 3.5, 5.0, 8.0, 14.0)
"""The last two are judged in windows."""
BROKEN = ("empty", "nan", "junk", "no-samples")
"""Of `sounds.HOSTILE`."""
CLOSE = 1e-3
"""By which a probability may differ from what one visitor alone is told: batches round otherwise."""
AGAIN_S = 0.5
"""After which a visitor who was told to try again does."""

Answer = dict[str, float] | str
"""The probabilities of what was judged, or the message of what was refused."""


@dataclass(frozen=True)
class Told:
    """One request.

    Attributes:
        seconds: from asking to the answer.
        outcome: "answered", "refused" as one alone is, "busy", "wrong" or "failed".
        detail: what went wrong.
    """

    seconds: float
    outcome: str
    detail: str = ""


def recordings(folder: Path, seconds: Sequence[float] = SECONDS, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Voices of all these lengths in all these formats, of which none sounds like another, and files that are none."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for seed, (length, form) in enumerate(itertools.product(seconds, formats)):
        voice = sounds.voice(length, 48_000, pitch=80.0 + 5.0 * seed, seed=seed)
        found.append(sounds.write(folder, voice, 48_000, form, stem=f"voice-{seed}"))
    return found + [sounds.HOSTILE[name].make(folder) for name in BROKEN]


def few(folder: Path) -> list[Path]:
    """Some of them, of which two are long enough for windows: to see that all of it works."""
    return recordings(folder, (1.5, 8.0), FORMATS[::4])


def ask(client: Client, path: Path) -> Answer:
    """What the page says of a recording. Raises whatever the client raises but for a refusal of the file itself."""
    try:
        answer = client.predict(handle_file(path), api_name="/predict")
    except AppError as error:
        return str(error)
    probabilities: dict[str, float] = answer[2]["probabilities"]
    return probabilities


def compare(found: Answer, expected: Answer) -> str:
    """How an answer differs from what was expected; "" where it doesn't."""
    if isinstance(found, str) or isinstance(expected, str):
        return "" if found == expected else f"{found} instead of {expected}"
    if found.keys() != expected.keys():
        return f"{', '.join(found) or 'nothing'} instead of {', '.join(expected) or 'nothing'}"
    worst = max((abs(found[label] - value) for label, value in expected.items()), default=0.0)
    return f"off by {worst:.4f}" if worst > CLOSE else ""


def alone(client: Client, files: list[Path]) -> dict[Path, Answer]:
    """What one visitor alone is told of each file.

    Raises:
        RuntimeError: a voice is refused or a broken file answered, or two voices are told so alike that one visitor's
            answer could pass for another's.
    """
    expected = {path: ask(client, path) for path in files}
    broken = {sounds.HOSTILE[name].make(files[0].parent).name for name in BROKEN}
    if odd := [path.name for path, answer in expected.items() if isinstance(answer, str) != (path.name in broken)]:
        raise RuntimeError(f"one visitor alone is told something unforeseen of {', '.join(odd)}")
    voices = [answer for answer in expected.values() if not isinstance(answer, str) and answer]
    if any(not compare(one, other) for one, other in itertools.combinations(voices, 2)):
        raise RuntimeError("two recordings are told alike: an answer that was meant for somebody else would not show")
    return expected


def request(asking: Callable[[], Answer], expected: Answer) -> Told:
    """Ask once."""
    began = time.perf_counter()
    try:
        found = asking()
    except QueueError:
        return Told(time.perf_counter() - began, "busy")
    except Exception as error:  # noqa: BLE001  # whatever it is, it is counted and told
        return Told(time.perf_counter() - began, "failed", f"{type(error).__name__}: {error}"[:300])
    taken = time.perf_counter() - began
    if wrong := compare(found, expected):
        return Told(taken, "wrong", wrong)
    return Told(taken, "refused" if isinstance(found, str) else "answered")


def insist(asking: Callable[[], Answer], expected: Answer, patience_s: float) -> list[Told]:
    """Ask until there is an answer, as a visitor does who is told to try again; all that was told, in order."""
    told = [request(asking, expected)]
    deadline = time.monotonic() + patience_s
    while told[-1].outcome == "busy" and time.monotonic() < deadline:
        time.sleep(AGAIN_S)
        told.append(request(asking, expected))
    return told


def counted(told: list[Told]) -> dict[str, Any]:
    """How often each outcome came, and the first faults."""
    outcomes = [one.outcome for one in told]
    return {
        **{name: outcomes.count(name) for name in ("answered", "refused", "busy", "wrong", "failed")},
        "faults": sorted({one.detail for one in told if one.detail})[:10],
    }
