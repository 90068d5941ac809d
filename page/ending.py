"""How the page's process ends: when it is told to, in order, and whatever its threads are at.

Threads may still be at work then, on first calls or on the recording of who has left. Python would end them at their
next step, within OpenVINO's C++, which aborts the process (exit code 134), or leaves locks for which the rest of the
end then waits.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import queue
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Ending:
    """What Ctrl-C and SIGTERM do, and the last steps.

    Args:
        own: whether the process is the page's own, and ends with it; no other is silenced.
    """

    def __init__(self, own: bool = False) -> None:
        self._own = own
        self._gives_up = False
        # No event: a second signal in the moment in which it is set would wait for itself.
        self._told: queue.SimpleQueue[int] = queue.SimpleQueue()

    def listen(self) -> None:
        """Note from now on when the process is told to end."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._hear)

    def _hear(self, number: int, _: object) -> None:
        self._told.put(number)
        if self._gives_up:
            self._gives_up = False  # what is cleared away then must not be interrupted
            raise SystemExit(128 + number)  # as a shell shows it

    def give_up_if_told(self) -> None:
        """From now on raise SystemExit, once, with 130 for Ctrl-C and 143 for SIGTERM, wherever the main thread is."""
        self._gives_up = True
        if not self._told.empty():
            self._hear(self._told.get(), None)

    def hold_on(self) -> None:
        """From now on leave it to `wait` again."""
        self._gives_up = False

    def wait(self, at_most_s: float | None = None) -> None:
        """Wait until the process is told to end; no longer than so many seconds, where a number is given.

        Gradio's own waiting knows only Ctrl-C, and then leaves the connections of open pages to themselves; the server
        waits for these in vain, and is given up before it has deleted the recordings.
        """
        self.hold_on()
        self.listen()
        until = math.inf if at_most_s is None else time.monotonic() + at_most_s
        with _woken_by_signals() as bell:
            while self._told.empty() and (left_s := until - time.monotonic()) > 0:
                bell.settimeout(None if at_most_s is None else left_s)
                with contextlib.suppress(TimeoutError):
                    bell.recv(1)
        with contextlib.suppress(queue.Empty):
            self._told.get_nowait()

    def fall_silent(self) -> None:
        """Do what Python does at its end, and write nothing from here on, to no file.

        For the last step but one, the deletion of the recordings: no thread can put a picture of a voice there again.
        """
        self.hold_on()
        if not self._own:
            return
        _finish()
        with contextlib.suppress(ImportError, OSError, ValueError):  # Windows has no such bound
            import resource

            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def run(main: Callable[[Ending], int]) -> NoReturn:
    """`main`, which gives the exit code, as this process's own."""
    ending = Ending(own=True)
    ending.listen()
    try:
        code: object = main(ending)
    except SystemExit as told:
        code = told.code
    if isinstance(code, str):
        print(code, file=sys.stderr)
    _finish()
    os._exit(code if isinstance(code, int) else int(code is not None))


@contextlib.contextmanager
def _woken_by_signals() -> Iterator[socket.socket]:
    """A socket that can be read once a signal has come; only for the main thread.

    The system may give a signal to any thread. It is the main one that must act on it, and where that waits for a lock
    or a queue, another thread's signal doesn't wake it.
    """
    bell, rope = socket.socketpair()
    with bell, rope:
        rope.setblocking(False)
        before = signal.set_wakeup_fd(rope.fileno(), warn_on_full_buffer=False)
        try:
            yield bell
        finally:
            signal.set_wakeup_fd(before)


def _finish() -> None:
    atexit._run_exitfuncs()
    if sys.stdout is not None:
        with contextlib.suppress(OSError, ValueError):  # a reader that went away
            sys.stdout.flush()
