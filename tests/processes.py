"""What tests need of processes of their own."""

from __future__ import annotations

import signal


def hear_interrupts() -> None:
    """As `preexec_fn`: let SIGINT interrupt the process, also where the tests themselves run with it ignored.

    A shell starts what it puts into the background, as CI does, with SIGINT ignored, and children inherit that.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
