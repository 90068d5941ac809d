"""2,000 requests in a row, and what the page holds along the way -> tests/load/soak.json.

    python -m tests.load.soak [--short] [--model FOLDER] [--out FILE]

Memory, open files, threads and files on disk shall stay flat. The page deletes recordings five minutes after they were
last needed; here after half a minute, so that a soak of minutes shows whether it does.
"""

from __future__ import annotations

import functools
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradio_client import Client

from tests.bench import command, memory
from tests.browser import driving
from tests.load import visitors, watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.command import Asked

PACKAGES = ("gradio", "gradio_client", "openvino", "librosa", "numpy", "av", "soundfile")
REQUESTS, EVERY = 2_000, 100
DELETE_AFTER_S, SHORT_S = 30, 6


def program(delete_after_s: int) -> tuple[str, str]:
    """The page, which looks every second for what to delete."""
    code = (
        "import page.tidy as tidy\n"
        f"tidy.DELETE_AFTER_S, tidy.DELETE_EVERY_S = {delete_after_s}, 1\n"
        "import app; app.run()"
    )
    return "-c", code


def soak(
    server: driving.Server, files: Sequence[Path], folder: Path, requests: int, every: int, delete_after_s: int
) -> dict[str, Any]:
    """One visitor after the other, each with one recording.

    Args:
        server: a page, whose files lie in `folder / "page"`.
        files: what is sent, in turn.
        folder: for what the clients write.
        requests: how many.
        every: after so many what the page holds is looked at.
        delete_after_s: when the page deletes what was sent.
    """
    memory.await_idle(server.pid)
    begun = watch.held(server.pid, folder / "page")
    client = Client(server.url, verbose=False, download_files=folder / "told")
    expected = visitors.alone(client, list(files))
    steps = [{"after": 0} | watch.held(server.pid, folder / "page")]
    told = []
    for number in range(1, requests + 1):
        path = files[number % len(files)]
        told.append(visitors.request(functools.partial(visitors.ask, client, path), expected[path]))
        if number % every == 0:
            steps.append({"after": number} | watch.held(server.pid, folder / "page"))
    half, last = steps[len(steps) // 2], steps[-1]
    time.sleep(rest_s := delete_after_s + 5.0)
    return visitors.counted(told) | {
        "requests": requests,
        "slowest_s": max(one.seconds for one in told),
        "begun": begun,
        "steps": steps,
        "growth_of_second_half": last["resident_mb"] / half["resident_mb"] - 1.0,
        "deleted_after_s": delete_after_s,
        "rest_s": rest_s,
        "at_rest": watch.held(server.pid, folder / "page"),
    }


def measure(asked: Asked) -> dict[str, Any]:
    """The soak."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = (visitors.few if asked.short else visitors.recordings)(folder / "files")
        environment = {"GRADIO_TEMP_DIR": str(folder / "page")}
        after = SHORT_S if asked.short else DELETE_AFTER_S
        with driving.started(asked.model, program=program(after), environment=environment) as server:
            requests, every = (12, 3) if asked.short else (REQUESTS, EVERY)
            found = soak(server, files, folder, requests, every, after)
    return {"what": "The page, asked again and again"} | found


if __name__ == "__main__":
    raise SystemExit(command.run("soak", __doc__, measure, PACKAGES, package="tests.load"))
