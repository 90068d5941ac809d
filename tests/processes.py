"""What tests need of processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent


def hear_interrupts() -> None:
    """As `preexec_fn`: let SIGINT interrupt the process, also where the tests themselves run with it ignored.

    A shell starts what it puts into the background, as CI does, with SIGINT ignored, and children inherit that.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(*arguments: str | Path | bytes, code: str | None = None, **options: Any) -> subprocess.Popen[str]:
    """`python -m ser_core` with these arguments, or `code` in its place, in the project's folder.

    Args:
        arguments: of the command.
        code: to run instead.
        options: of `Popen`; nothing comes in, and what is printed goes into pipes, unless they say otherwise.
    """
    return subprocess.Popen(
        [sys.executable, *(["-m", "ser_core"] if code is None else ["-c", code]), *arguments],
        cwd=ROOT,
        text=True,
        preexec_fn=hear_interrupts,  # noqa: PLW1509  no threads run here, and nothing else sets a signal
        **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def until(is_so: Callable[[], Any], patience_s: float = 60.0) -> None:
    """Wait until something is so. Raises AssertionError where it never is."""
    deadline = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.05)
