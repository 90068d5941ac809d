"""64 visitors with 20 recordings each, at once, against a page in a process of its own -> tests/load/crowd.json.

    python -m tests.load.crowd [--short] [--model FOLDER] [--out FILE]

Recordings are of many lengths and formats, some of them broken. Each answer is compared with what one visitor alone
was told of the same file, so that a wrong answer and one that was meant for somebody else both show. Beyond the bound
of the queue a visitor is told to try again, and does.
"""

from __future__ import annotations

import functools
import math
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradio_client import Client

from page import layout
from tests.bench import command
from tests.browser import driving
from tests.load import passerby, visitors, watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.command import Asked
    from tests.load.visitors import Told

PACKAGES = ("gradio", "gradio_client", "openvino", "librosa", "numpy", "av", "soundfile")
VISITORS, REQUESTS = 64, 20
PATIENCE_S = 600.0


def crowd(url: str, files: Sequence[Path], folder: Path, visitors_: int, requests: int) -> dict[str, Any]:
    """All visitors at once, each with its share of the files.

    Args:
        url: of a page that is warm.
        files: what is sent, in turn.
        folder: for what the clients write.
        visitors_: how many.
        requests: of each.

    Returns:
        Counts of what was told, and seconds: median, p95 and slowest answer, median and slowest refusal to wait; and
        what somebody was told who passed by, see `passerby.told`.
    """
    alone = Client(url, verbose=False, download_files=folder)
    expected = visitors.alone(alone, list(files))
    clients = [Client(url, verbose=False, download_files=folder) for _ in range(visitors_)]

    def visit(number: int) -> list[list[Told]]:
        paths = [files[(7 * number + turn) % len(files)] for turn in range(requests)]
        asking = [(functools.partial(visitors.ask, clients[number], path), expected[path]) for path in paths]
        return [visitors.insist(ask, answer, PATIENCE_S) for ask, answer in asking]

    began = time.perf_counter()
    with passerby.passing(url) as passed_by, ThreadPoolExecutor(visitors_) as pool:
        visits = [one for many in pool.map(visit, range(visitors_)) for one in many]
    taken = time.perf_counter() - began
    told = [one for visit_ in visits for one in visit_]
    # From first asking on: who was told to try again waited, too.
    waited = sorted(_waited(one) for one in visits if one[-1].outcome in ("answered", "refused"))
    busy = sorted(one.seconds for one in told if one.outcome == "busy")
    return visitors.counted(told) | {
        "visitors": visitors_,
        "requests": visitors_ * requests,
        "gave_up": sum(one[-1].outcome == "busy" for one in visits),
        "took_s": round(taken, 1),
        "answers_per_s": len(waited) / taken,
        "median_s": statistics.median(waited),
        "p95_s": waited[math.ceil(0.95 * len(waited)) - 1],
        "slowest_s": waited[-1],
        "told_busy_within_s": busy[-1] if busy else None,
        "told_busy_median_s": statistics.median(busy) if busy else None,
        "passerby": passerby.told(passed_by),
    }


def _waited(told: Sequence[Told]) -> float:
    """Seconds from first asking to the answer."""
    return sum(one.seconds for one in told) + visitors.AGAIN_S * (len(told) - 1)


def measure(asked: Asked) -> dict[str, Any]:
    """The crowd, and what the server held before and after."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = (visitors.few if asked.short else visitors.recordings)(folder / "files")
        environment = {"GRADIO_TEMP_DIR": str(folder / "page")}
        with driving.started(asked.model, environment=environment) as server:
            count, each = (6, 3) if asked.short else (VISITORS, REQUESTS)
            found = crowd(server.url, files, folder, count, each)
            found["held"] = watch.held(server.pid, folder / "page")
    return {"what": "The page, asked by a crowd", "at_once": layout.AT_ONCE, "waiting": layout.WAITING} | found


if __name__ == "__main__":
    raise SystemExit(command.run("crowd", __doc__, measure, PACKAGES, package="tests.load"))
