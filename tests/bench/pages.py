"""What the page costs beside a bare Gradio page with the same components: start, first answer, API calls, memory.

    python -m tests.bench.pages [--short] [--model FOLDER] [--out FILE]

The bare page (tests/browser/bare.py) answers with constants: it is what Gradio, its client and the way between them
cost. Both are processes of their own, and take turns.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradio_client import Client, handle_file

from tests.bench import command, material, memory
from tests.bench.timing import SHORT, Rounds, beside, compared
from tests.browser import driving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.bench.command import Asked
    from tests.browser.driving import Server

PACKAGES = ("gradio", "gradio_client", "openvino", "librosa", "numpy")
PROGRAMS = {"ours": ("app.py",), "bare": ("-m", "tests.browser.bare")}
BARE = "a bare Gradio page"
ANSWERS, LAST = 200, 100
"""After so many answers the memory is looked at; and how much of it came with so many last ones."""


@dataclass(frozen=True)
class Begun:
    """A page that has given its first answer and has warmed up.

    Attributes:
        server: where it is.
        first_answer_s: seconds from when it was there to the first answer of a new client.
    """

    server: Server
    first_answer_s: float


@contextlib.contextmanager
def begun(folder: Path, clip: Path, model: str | None) -> Iterator[dict[str, Begun]]:
    """Ours and the bare page, started one after the other and both served; what both write lies in `folder`."""
    with contextlib.ExitStack() as stack:
        pages: dict[str, Begun] = {}
        for who, program in PROGRAMS.items():
            chosen = model if who == "ours" else None
            place = {"GRADIO_TEMP_DIR": str(folder)}
            server = stack.enter_context(driving.started(chosen, program=program, environment=place))
            began = time.perf_counter()
            asker(server.url, folder)(clip)
            pages[who] = Begun(server, time.perf_counter() - began)
            memory.await_idle(server.pid)  # its warming up shall take nothing from what comes next
        yield pages


def asker(url: str, folder: Path) -> Callable[[Path], Any]:
    """A function that asks the page at `url` about a clip, by a client that knows the page already."""
    client = Client(url, verbose=False, download_files=folder)
    return lambda clip: client.predict(handle_file(clip), api_name="/predict")


def calls(pages: dict[str, Begun], folder: Path, clip: Path, rounds: Rounds) -> dict[str, Any]:
    """One call of the API with everything in its answer, warm."""
    ours, bare = (asker(page.server.url, folder) for page in pages.values())
    found = beside(lambda: ours(clip), lambda: bare(clip), BARE, rounds)
    return found | {"more_ms": found["median_ms"] - found["reference"]["median_ms"]}


def held(pid: int, ask: Callable[[Path], Any], clips: Iterable[Path], last: int) -> dict[str, Any]:
    """A page's memory in bytes after its start, before the `last` answers about `clips`, and after all of them."""
    steps = [memory.of(pid)]
    for clip in clips:
        ask(clip)
        steps.append(memory.of(pid))
    before_last, now = steps[-1 - last], steps[-1]
    return {
        "after_start": asdict(steps[0]),
        "before_last": asdict(before_last),
        "after_answers": asdict(now),
        "growth": now.resident / before_last.resident - 1.0,
    }


def warm(pages: dict[str, Begun], folder: Path, clip: Path, short: bool) -> dict[str, Any]:
    """Memory, first, so that it is that of pages which have just started; then calls."""
    answers, last = (4, 2) if short else (ANSWERS, LAST)
    memories = {
        who: held(page.server.pid, asker(page.server.url, folder), material.visitors(folder, answers), last)
        for who, page in pages.items()
    }
    return {
        "memory": {"answers": answers, "last": last} | memories,
        "api": calls(pages, folder, clip, SHORT if short else Rounds(50)),
    }


def measure(asked: Asked) -> dict[str, Any]:
    """All of it."""
    starts = 1 if asked.short else 7
    found: dict[str, Any] = {"what": f"The page, asked about {material.CLIP}"}
    started: list[dict[str, Begun]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = material.clip(folder)
        for number in range(starts):
            with begun(folder, clip, asked.model) as pages:
                started.append(pages)
                if number == starts - 1:
                    found |= warm(pages, folder, clip, asked.short)
    found["start"] = _compared(started, lambda page: page.server.start_s)
    found["first_answer"] = _compared(started, lambda page: page.first_answer_s)
    return found


def _compared(started: list[dict[str, Begun]], take: Callable[[Begun], float]) -> dict[str, Any]:
    ours, bare = ([1000.0 * take(pages[who]) for pages in started] for who in PROGRAMS)
    return compared(ours, bare, BARE)


if __name__ == "__main__":
    raise SystemExit(command.run("pages", __doc__, measure, PACKAGES))
