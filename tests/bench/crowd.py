"""What many visitors at once wait for: answers a second and waiting times against the number of clients.

    python -m tests.bench.crowd [--short] [--model FOLDER] [--out FILE]

Each client sends its next recording as soon as it has an answer. All of them run on the machine that serves, in one
process, which takes its part of the processor; a page whose visitors sit elsewhere has more of it. The settings that
the page has (`AT_ONCE`, `WAITING`) are measured beside others.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from page import layout
from tests.bench import command, memory, pages
from tests.bench.bars import CROWD
from tests.browser import driving

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.bench.command import Asked

    Ask = Callable[[Path], Any]

PACKAGES = ("gradio", "gradio_client", "openvino", "librosa", "numpy")
CLIENTS = (1, 2, 4, 8, 16, 32)
REQUESTS = 96
"""Of all clients, at each point of the curve; at least three of each client."""
SETTINGS = (1, 2, 3, 4, 8)
"""Answers that are computed at the same time."""
CLOSE = 1e-4
"""By which a probability may differ from the answer to one client alone."""


@dataclass(frozen=True)
class Answered:
    """One request.

    Attributes:
        seconds: from asking to the whole answer.
        fault: what went wrong: "failed", "wrong" where the answer is another than that to one client alone; or "".
    """

    seconds: float
    fault: str


def curve(url: str, folder: Path, clips: Sequence[Path], clients: Sequence[int], requests: int) -> list[dict[str, Any]]:
    """Throughput and waiting times at each number of clients.

    Args:
        url: of a page that is warm.
        folder: for what the clients write.
        clips: sent in turn.
        clients: how many at once, for each point.
        requests: of all clients together, at each point.
    """
    asks = [pages.asker(url, folder) for _ in range(max(clients))]
    expected = {clip: _probabilities(asks[0](clip)) for clip in clips}
    return [point(asks[:count], clips, expected, requests) for count in clients]


def point(
    asks: Sequence[Ask], clips: Sequence[Path], expected: dict[Path, dict[str, float]], requests: int
) -> dict[str, Any]:
    """All clients at once, each with its share of the requests."""
    share = max(3, math.ceil(requests / len(asks)))

    def client(number: int) -> list[Answered]:
        mine = [clips[(number + turn) % len(clips)] for turn in range(share)]
        return [_answered(asks[number], clip, expected[clip]) for clip in mine]

    began = time.perf_counter()
    with ThreadPoolExecutor(len(asks)) as pool:
        answers = [one for many in pool.map(client, range(len(asks))) for one in many]
    taken = time.perf_counter() - began
    times = sorted(one.seconds for one in answers)
    return {
        "clients": len(asks),
        "requests": len(answers),
        "answers_per_s": len(answers) / taken,
        "median_ms": 1000.0 * statistics.median(times),
        "p95_ms": 1000.0 * times[math.ceil(0.95 * len(times)) - 1],
        "failed": sum(one.fault == "failed" for one in answers),
        "wrong": sum(one.fault == "wrong" for one in answers),
    }


def _answered(ask: Ask, clip: Path, expected: dict[str, float]) -> Answered:
    began = time.perf_counter()
    try:
        found = _probabilities(ask(clip))
    except Exception:  # noqa: BLE001  # whatever went wrong is counted; how the client says so is its affair
        return Answered(time.perf_counter() - began, "failed")
    wrong = any(abs(found[label] - value) > CLOSE for label, value in expected.items())
    return Answered(time.perf_counter() - began, "wrong" if wrong else "")


def _probabilities(answer: Any) -> dict[str, float]:
    """Of the answer of `/predict`: chart, picture, prediction."""
    found: dict[str, float] = answer[2]["probabilities"]
    return found


def with_settings(at_once: int) -> tuple[str, ...]:
    """The program that serves the page with as many answers at a time."""
    return ("-c", f"import page.layout as layout; layout.AT_ONCE = {at_once}; import app; app.run()")


def settings(model: str | None, folder: Path, clips: Sequence[Path], short: bool) -> list[dict[str, Any]]:
    """The crowd, at pages that compute more or fewer answers at the same time."""
    found = []
    for at_once in SETTINGS[:1] if short else SETTINGS:
        with driving.started(model, program=with_settings(at_once), environment=_place(folder)) as server:
            _warm(server, folder, clips)
            (one,) = curve(server.url, folder, clips, (2,) if short else (CROWD,), 6 if short else REQUESTS)
        found.append({"at_once": at_once} | one)
    return found


def _place(folder: Path) -> dict[str, str]:
    return {"GRADIO_TEMP_DIR": str(folder)}


def _warm(server: driving.Server, folder: Path, clips: Sequence[Path]) -> None:
    pages.asker(server.url, folder)(clips[0])
    memory.await_idle(server.pid)


def measure(asked: Asked) -> dict[str, Any]:
    """The page's curve, and its settings beside others."""
    clips = sorted(driving.SPOKEN.parent.glob("*.wav"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with driving.started(asked.model, environment=_place(folder)) as server:
            _warm(server, folder, clips)
            short = asked.short
            points = curve(server.url, folder, clips, (1, CROWD) if short else CLIENTS, 6 if short else REQUESTS)
        return {
            "what": "The page, asked by many clients about recordings of 2 to 5 s",
            "at_once": layout.AT_ONCE,
            "waiting": layout.WAITING,
            "curve": points,
            "settings": settings(asked.model, folder, clips, short),
        }


if __name__ == "__main__":
    raise SystemExit(command.run("crowd", __doc__, measure, PACKAGES))
